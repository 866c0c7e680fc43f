#!/bin/sh
# Turns flannel's subnet file into options for the Docker daemon. Plain POSIX sh: hosts run it without Node.

flannel_file=/run/flannel/subnet.env
docker_file=/run/docker_opts.env
combined_name=DOCKER_OPTS
wants_each=false
wants_combined=false
wants_masquerade=true

usage() {
  cat >&2 <<EOF
Usage: $0 [-f FILE] [-d FILE] [-i] [-c] [-k NAME] [-m]

Writes the options that the Docker daemon needs, so that its containers are in this host's flannel subnet.

  -f FILE  flannel's subnet file (default $flannel_file)
  -d FILE  where the options are written (default $docker_file)
  -i       write each option by itself, as DOCKER_OPT_BIP, DOCKER_OPT_MTU and so on
  -c       write all options together
  -k NAME  what they are called together (default $combined_name)
  -m       leave out --ip-masq

Without -i and -c, both are written. Variables that are called DOCKER_OPT_ and something are options too.
EOF
  exit 1
}

while getopts "f:d:ick:m?h" option; do
  case $option in
    f) flannel_file=$OPTARG ;;
    d) docker_file=$OPTARG ;;
    i) wants_each=true ;;
    c) wants_combined=true ;;
    k) combined_name=$OPTARG ;;
    m) wants_masquerade=false ;;
    *) usage ;;
  esac
done
case $combined_name in '' | [0-9]* | *[!A-Za-z0-9_]*) usage ;; esac

if [ $wants_each = false ] && [ $wants_combined = false ]; then
  wants_each=true
  wants_combined=true
fi

# What was there is of another subnet, whatever happens from here on.
: >"$docker_file" || exit 1

# Read and not run: it only holds NAME=VALUE. Without a file, the variables may come from whoever started us.
if [ -f "$flannel_file" ]; then
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      FLANNEL_SUBNET=*) FLANNEL_SUBNET=${line#*=} ;;
      FLANNEL_MTU=*) FLANNEL_MTU=${line#*=} ;;
      FLANNEL_IPMASQ=*) FLANNEL_IPMASQ=${line#*=} ;;
    esac
  done <"$flannel_file"
fi

if [ -n "$FLANNEL_SUBNET" ]; then
  export DOCKER_OPT_BIP="--bip=$FLANNEL_SUBNET"
fi
if [ -n "$FLANNEL_MTU" ]; then
  export DOCKER_OPT_MTU="--mtu=$FLANNEL_MTU"
fi
if [ -n "$FLANNEL_IPMASQ" ] && [ $wants_masquerade = true ]; then
  # One of both masquerades, never both.
  case $FLANNEL_IPMASQ in
    true) export DOCKER_OPT_IPMASQ="--ip-masq=false" ;;
    false) export DOCKER_OPT_IPMASQ="--ip-masq=true" ;;
    *)
      echo "Invalid value of FLANNEL_IPMASQ: $FLANNEL_IPMASQ" >&2
      exit 1
      ;;
  esac
fi

# A line for a file that both sh and systemd read.
write() {
  printf '%s="%s"\n' "$1" "$(printf '%s' "$2" | sed 's/[\\"$`]/\\&/g')" >>"$docker_file"
}

combined=$DOCKER_OPTS
for name in $(env | sed -n 's/^\(DOCKER_OPT_[A-Za-z0-9_]*\)=.*/\1/p' | LC_ALL=C sort -u); do
  eval "value=\$$name"
  [ $wants_each = false ] || write "$name" "$value"
  combined="$combined $value"
done
[ $wants_combined = false ] || write "$combined_name" "$combined"
