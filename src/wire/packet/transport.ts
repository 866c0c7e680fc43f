/** Where fields lie in a TCP header. RFC 9293 §3.1. */
export const TCP_HEADER_SIZE = 20;
export const TCP_SEQUENCE = 4;
export const TCP_ACKNOWLEDGEMENT = 8;
/** The header's length in units of 4 bytes, in the upper half. */
export const TCP_DATA_OFFSET = 12;
export const TCP_FLAGS = 13;
export const TCP_WINDOW = 14;
export const TCP_CHECKSUM = 16;
export const TCP_URGENT = 18;

export const TCP_FIN = 0x01;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_CWR = 0x80;

/** Where fields lie in a UDP header. RFC 768. */
export const UDP_HEADER_SIZE = 8;
export const UDP_LENGTH = 4;
export const UDP_CHECKSUM = 6;
