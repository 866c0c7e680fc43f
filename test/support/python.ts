/** Debian's own. What stands before it in the PATH may be a script that looks for one, which takes longer than what it is asked to do. */
export const PYTHON = "/usr/bin/python3";
