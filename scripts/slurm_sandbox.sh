#!/usr/bin/env bash
# A real Slurm to throw away: slurmctld, slurmd on two virtual nodes and munge, on this machine, without systemd and
# without a file under /etc.
#
#   eval "$(scripts/slurm_sandbox.sh up)"      # installs Debian's packages first where they are absent and we are root
#   scripts/slurm_sandbox.sh status | down
#
# Exit codes: 0 done, 1 failed, 2 wrong usage, 3 Slurm is not here and cannot be installed, 4 (status) not up.
# Environment: SLURM_SANDBOX_DIR (short: it holds sockets), SLURM_SANDBOX_NODES, _CPUS, _MEM, _PORT, _INSTALL=no.
set -euo pipefail

DIR=${SLURM_SANDBOX_DIR:-/tmp/slurm-sandbox-$(id -u)}
NODES=${SLURM_SANDBOX_NODES:-2} CPUS=${SLURM_SANDBOX_CPUS:-4} MEM=${SLURM_SANDBOX_MEM:-16000} PORT=${SLURM_SANDBOX_PORT:-16800}
RUN=$DIR/run
export SLURM_CONF=$DIR/slurm.conf
unset "${!SLURM_JOB@}" "${!SBATCH_@}"

say() { echo "slurm_sandbox: $*" >&2; }
cannot() { say "Slurm is not available: $*"; exit 3; }

install_packages() {
  local missing=()
  command -v slurmctld slurmd sbatch >/dev/null || missing+=(slurm-wlm)
  command -v munged >/dev/null || missing+=(munge)
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "${SLURM_SANDBOX_INSTALL:-yes}" = yes ] || cannot "${missing[*]} missing, and SLURM_SANDBOX_INSTALL=no"
  command -v apt-get >/dev/null || cannot "${missing[*]} missing, and this is no Debian (no apt-get)"
  [ "$(id -u)" = 0 ] || cannot "${missing[*]} missing, and only root can install: apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  local log; log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    cannot "apt-get could not install ${missing[*]} (log: $log)"
  fi
  rm -f "$log"
}

is_daemon() { # is_daemon PID: it runs and is one of ours; a zombie is dead, and a stale number must not hit a stranger
  case $(cat "/proc/$1/comm" 2>/dev/null) in slurmctld | slurmd | munged) ;; *) return 1 ;; esac
  [ "$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1)" != Z ]
}

wait_for() { # wait_for SECONDS WHAT COMMAND...
  local end=$((SECONDS + $1)) what=$2
  shift 2
  while [ "$SECONDS" -lt "$end" ]; do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  say "$what did not come up; the last lines of the logs:"
  tail -n 15 "$RUN"/*.log "$RUN"/*.out >&2 || true
  down
  exit 1
}

configure() {
  local i me nodes=""
  me=$(hostname -s)
  for i in $(seq "$NODES"); do
    mkdir -p "$DIR/spool.node$i"
    nodes+="NodeName=node$i NodeHostname=$me NodeAddr=127.0.0.1 Port=$((PORT + 100 + i)) CPUs=$CPUS RealMemory=$MEM"$'\n'
  done
  : >"$DIR/cgroup.conf"
  # config_overrides: nodes may declare more processors than there are. cred_expire: seconds that a requeued job waits,
  # two minutes by default; above KillWait, or a job restarts beside its old step. EnforcePartLimits: refuse what never fits.
  # MaxArraySize: so few that a small sweep needs several arrays.
  cat >"$SLURM_CONF" <<CONF
ClusterName=sandbox
SlurmctldHost=$me(127.0.0.1)
SlurmctldPort=$((PORT + 17))
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$RUN/munge.sock,cred_expire=8
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPidFile=$RUN/slurmctld.pid
SlurmdPidFile=$RUN/slurmd.%n.pid
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool.%n
SlurmctldLogFile=$RUN/slurmctld.log
SlurmdLogFile=$RUN/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=5
KillWait=2
OverTimeLimit=0
JobRequeue=1
MaxArraySize=4
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
EnforcePartLimits=ALL
${nodes}PartitionName=debug Nodes=node[1-$NODES] Default=YES MaxTime=60 DefaultTime=5 DefMemPerCPU=200 State=UP PriorityTier=1 GraceTime=5
PartitionName=urgent Nodes=node[1-$NODES] MaxTime=60 DefaultTime=5 DefMemPerCPU=200 State=UP PriorityTier=10 PreemptMode=OFF
CONF
}

is_up() { [ -e "$SLURM_CONF" ] && [ "$(timeout 5 sinfo -h -N -p debug -t idle,alloc,mix -o %N 2>/dev/null | wc -l)" = "$NODES" ]; }

up() {
  install_packages
  if is_up; then
    say "already up"
  else
    down
    if [ -e "$DIR" ] && [ ! -e "$DIR/.slurm_sandbox" ] && [ -n "$(ls -A "$DIR")" ]; then
      say "$DIR holds other files; set SLURM_SANDBOX_DIR"
      exit 1
    fi
    rm -rf "$DIR"
    mkdir -p "$RUN" "$DIR/state"
    chmod 755 "$DIR"
    : >"$DIR/.slurm_sandbox"
    (umask 077 && head -c 1024 /dev/urandom >"$DIR/munge.key")
    munged --force --key-file="$DIR/munge.key" --socket="$RUN/munge.sock" --pid-file="$RUN/munged.pid" \
      --log-file="$RUN/munged.log" --seed-file="$RUN/munged.seed" >"$RUN/munged.out" 2>&1 </dev/null
    configure
    slurmctld -D >"$RUN/slurmctld.out" 2>&1 </dev/null &
    wait_for 30 slurmctld timeout 5 scontrol ping
    for i in $(seq "$NODES"); do slurmd -D -N "node$i" >"$RUN/slurmd.node$i.out" 2>&1 </dev/null & done
    wait_for 60 "a node" is_up
    say "up: $(sinfo -h -p debug -o '%D nodes, %t')"
  fi
  # the virtual nodes have no addresses of their own, so processes of a job are told where to meet
  echo "export SLURM_CONF=$SLURM_CONF MASTER_ADDR=127.0.0.1"
}

down() {
  local file pid
  for file in "$RUN"/slurmd.*.pid "$RUN/slurmctld.pid" "$RUN/munged.pid"; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    if is_daemon "$pid"; then
      kill "$pid" || true
      for _ in $(seq 100); do
        is_daemon "$pid" || break
        sleep 0.1
      done
      if is_daemon "$pid"; then kill -9 "$pid" || true; fi
    fi
    rm -f "$file"
  done
}

status() {
  is_up || { say "not up"; exit 4; }
  sinfo -p debug
  squeue
}

case ${1:-} in
  up) up ;;
  down) down ;;
  status) status ;;
  *) say "usage: $0 up | down | status"; exit 2 ;;
esac
