// A daemon with nothing but one UDP socket, kept from one start to the next. Prints a line of JSON for each thing that happens.
import { openKeeper } from "../../src/cli/open-keeper.ts";
import { silentLogger } from "../../src/lib/logger.ts";

void openKeeper;
void silentLogger;
