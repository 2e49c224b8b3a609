"""`launcher.py LOG COMMAND...`: runs the command to its end, its output in LOG; prints what it took as JSON.

A process of its own, and a small one: a child is said to have had as much memory as its parent ever had.
"""

import json
import os
import sys
import time


def main() -> None:
    log, *command = sys.argv[1:]
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    began_s = time.perf_counter()
    redirected = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=redirected)
    _, status, usage = os.wait4(pid, 0)
    taken = {
        "wall_s": time.perf_counter() - began_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_rss_mib": usage.ru_maxrss / 1024,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
