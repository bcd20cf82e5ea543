# Tries to get out, and says what it could do, a line for each. It needs no more than a POSIX shell; what connects is
# whatever is there, for a shell alone can't. Beside each thing that is to be denied stands one that is allowed.
exec 2>/dev/null
tell() { echo "$1=$2"; }

tell read "$( (read -r line <"$STOCKADE_DOCTOR_SECRET"; echo "$line") )"
(echo changed >"$STOCKADE_DOCTOR_SECRET")
(echo mine >doctor.own && read -r line <doctor.own && tell own.file "$line")

kill -URG "$STOCKADE_DOCTOR_VICTIM" && tell signal sent
kill -URG $$ && tell own.signal sent

chmod 4755 doctor.own && tell setuid made
chmod 700 doctor.own && tell own.mode made

has() { command -v "$1" >/dev/null; }
if has bash; then
    bash -c : && tell client bash
    bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$STOCKADE_DOCTOR_PORT"'
elif has python3; then
    python3 -c '' && tell client python3
    python3 -c 'import os, socket
socket.create_connection(("127.0.0.1", int(os.environ["STOCKADE_DOCTOR_PORT"])), 1)'
elif has perl; then
    perl -e 0 && tell client perl
    perl -MIO::Socket::INET -e 'IO::Socket::INET->new("127.0.0.1:$ENV{STOCKADE_DOCTOR_PORT}")'
elif has nc; then
    tell client nc
    nc -w 1 127.0.0.1 "$STOCKADE_DOCTOR_PORT" </dev/null
elif has wget; then
    tell client wget
    wget -q -T 1 -O /dev/null "http://127.0.0.1:$STOCKADE_DOCTOR_PORT/"
fi

while read -r name value rest; do
    case $name in NoNewPrivs: | CapEff: | Seccomp: | Seccomp_filters:) tell "${name%:}" "$value" ;; esac
done </proc/self/status
while read -r interface destination rest; do
    case $destination in 00000000) tell route "$interface" ;; esac
done </proc/net/route
for kind in user pid mnt net; do
    tell "namespace.$kind" "$(readlink "/proc/self/ns/$kind")"
done
rm -f doctor.own
exit 0
