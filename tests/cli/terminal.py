"""Runs a command in a terminal of so many columns: its progress line must never reach the last column, or the
terminal would wrap it and flood. Usage: terminal.py COLUMNS COMMAND..."""
import fcntl, os, pty, struct, sys, termios

columns = int(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.execv(sys.argv[2], sys.argv[2:])
got = b""
while True:
    try:
        piece = os.read(fd, 65536)
    except OSError:  # the other end is closed
        break
    if not piece:
        break
    got += piece
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
lines = [line.split(b"\r")[0].decode() for line in got.split(b"\r\x1b[K")[1:]]
drawn = [line for line in lines if "%" in line]
wide = [line for line in drawn if len(line) >= columns]
assert status == 0, (status, got[-300:])
assert not wide, wide[0]
if columns >= 40:
    assert drawn and all("times real time" in line for line in drawn), got[:300]
if columns >= 80:
    assert all(line.startswith("drums, bass [") for line in drawn), drawn[0]
