#!/bin/sh
# What the first process does in the guest: a little of everything that user space asks of a kernel.
mount -t proc proc /proc
echo "user space: $(uname -sm)"
echo "processors: $(grep -c ^processor /proc/cpuinfo)"

echo "fork and exec: $(echo one; (echo two); sh -c 'echo three' | cat)" | tr '\n' ' '; echo
echo "pipe: $(seq 1 2000 | sort -rn | tail -n 1) $(seq 1 2000 | sort -n | tail -n 1)"

trap 'echo "signal: caught"' USR1
kill -USR1 $$
sleep 100 &
kill -KILL $!
wait $!
echo "signal: ended with $?"

hundredths() { cut -d' ' -f1 /proc/uptime | tr -d .; }
before=$(hundredths)
sleep 1
after=$(hundredths)
[ $((after - before)) -ge 100 ] && [ $((after - before)) -lt 115 ] && echo "timer: a second"

for number in 1 2 3 4; do
    (dd if=/dev/zero bs=64k count=16 2>/dev/null | sha256sum | cut -c1-16 >sum$number) &
done
wait
echo "sums: $(cat sum? | sort -u)"

hello32
if dmesg | grep -qE 'BUG|Oops|WARNING: CPU|Call Trace'; then dmesg | grep -E 'BUG|Oops|WARNING: CPU|Call Trace'; else echo "log: clean"; fi
poweroff -f
