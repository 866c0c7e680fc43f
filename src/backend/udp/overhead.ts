/** Bytes that carrying a packet costs: outer IPv4 20 + UDP 8. The packet itself is the datagram, as 0.7.0 has it. */
export const UDP_OVERHEAD = 28;
