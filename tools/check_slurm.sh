#!/usr/bin/env bash
# Runs a sweep of minnow through Slurm with two nodes on this machine, disturbs it, and compares the records of quality with those of one
# local run. Needs root, slurmctld, slurmd and munge (Debian: slurmctld slurmd slurm-client munge), and a built program.
#
#   tools/check_slurm.sh [FOLDER]      FOLDER: where everything is kept; default: a temporary folder
#
# It takes about 5 minutes. One job is cancelled, and one slurmd is killed in the middle with its jobs. Then what failed is submitted again.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

readonly program=$PWD/build/release/metal-marlin
readonly repository=$PWD
readonly here=${1:-$(mktemp -d)}
readonly conf=$here/slurm.conf
export SLURM_CONF=$conf

say() { printf '%(%H:%M:%S)T  %s\n' -1 "$*"; }
die() { echo "check_slurm: $*" >&2; exit 1; }

[[ $(id -u) == 0 ]] || die "needs root, to start the daemons"
for tool in slurmctld slurmd munged sbatch; do command -v "$tool" >/dev/null || die "$tool is missing"; done
[[ -x $program ]] || die "$program is missing: make build"

write_configuration() {
  local cores memory
  cores=$(nproc)
  memory=$(($(getconf _PHYS_PAGES) * $(getconf PAGE_SIZE) / 1048576 / 4))
  mkdir -p "$here"/{state,node1-spool,node2-spool,log,run}
  cat >"$conf" <<EOF
ClusterName=check
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$here/run/munge.socket
StateSaveLocation=$here/state
SlurmdSpoolDir=$here/%n-spool
SlurmctldPidFile=$here/run/slurmctld.pid
SlurmdPidFile=$here/run/%n.pid
SlurmctldLogFile=$here/log/slurmctld.log
SlurmdLogFile=$here/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MinJobAge=3600
JobRequeue=1
DefMemPerNode=UNLIMITED
NodeName=node1 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=16818 CPUs=$cores RealMemory=$memory
NodeName=node2 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=16819 CPUs=$cores RealMemory=$memory
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
EOF
}

start_node() { slurmd -N "$1" -f "$conf"; }

start_cluster() {
  chmod 700 "$here/run"
  if [[ ! -f $here/run/munge.key ]]; then
    head -c 1024 /dev/urandom >"$here/run/munge.key"
    chmod 400 "$here/run/munge.key"
  fi
  munged --force --key-file="$here/run/munge.key" --socket="$here/run/munge.socket" --pid-file="$here/run/munged.pid" \
    --log-file="$here/log/munged.log" --seed-file="$here/run/munge.seed"
  slurmctld -f "$conf"
  start_node node1
  start_node node2
  for _ in $(seq 60); do
    [[ $(sinfo -h -N -t idle -o %N 2>/dev/null | wc -l) == 2 ]] && return
    sleep 1
  done
  sinfo -N || true
  die "the two nodes did not become idle; see $here/log"
}

stop_cluster() {
  local pid_file
  scancel --user=root 2>/dev/null || true
  for pid_file in "$here"/run/{node1,node2,slurmctld,munged}.pid; do
    [[ -f $pid_file ]] && kill "$(cat "$pid_file")" 2>/dev/null || true
  done
}

# Tasks of an array that run now: "12_3".
running() { squeue -h -t running -o %i "$@"; }

# What a node that loses power loses: the daemon, what watches over its jobs, and the jobs.
kill_node() {
  local process job
  kill -9 "$(cat "$here/run/$1.pid")"
  for job in $(squeue -h -t running -w "$1" -o %A); do pkill -9 -f "slurmstepd: \\[$job\\." || true; done
  for process in $(pgrep -f "metal-marlin|slurm_script" || true); do
    tr '\0' '\n' <"/proc/$process/environ" 2>/dev/null | grep -qx "SLURMD_NODENAME=$1" && kill -9 "$process" 2>/dev/null || true
  done
}

wait_for_all() {
  for _ in $(seq 1200); do
    [[ -z $(squeue -h -o %i) ]] && return
    sleep 1
  done
  squeue
  die "jobs are still there after 20 minutes"
}

sweep() {
  local results=$1
  shift
  "$program" bench comparison --model models/minnow --data built-in --samples 40 \
    --config fp4-g32,fp4-g64,fp4-g128,fp4-g256,int4-g64,int4-g128,int8-g128,mixed --budget 4.5bpw --method gptq \
    --calibration data/sample/sample.txt --allow-overlap --calibration-windows 32 --calibration-ctx 256 --plan-windows 4 \
    --no-timing --results "$results" --claim-expiry 15 "$@"
}

compare() {
  python3 - "$here/local" "$here/cluster" <<'EOF'
import json, pathlib, sys

def records(folder):
    found = {}
    for path in pathlib.Path(folder).glob("*.json"):
        record = json.loads(path.read_text())
        if record["perplexity"]:
            del record["perplexity"]["seconds"]
        found[path.name] = {name: record[name] for name in
                            ("key", "id", "config", "model", "plan", "size", "perplexity", "divergence", "noise_floor")}
    return found

want, got = records(sys.argv[1]), records(sys.argv[2])
assert want, "no records of the local run"
assert want.keys() == got.keys(), f"other records: {sorted(want.keys() ^ got.keys())}"
for name, record in want.items():
    assert record == got[name], f"{name} differs"
print(f"{len(want)} records of quality and noise floor are equal to the bit")
EOF
}

write_configuration
trap stop_cluster EXIT
say "the local run"
sweep "$here/local" -q
say "the cluster: two nodes, $(nproc) cores each"
start_cluster
sweep "$here/cluster" --threads 1 --emit slurm >"$here/sweep.sh"
cd "$repository"
LOGS=$here/logs bash "$here/sweep.sh" >/dev/null
say "submitted: $(squeue -h -r -o %i | wc -l) tasks"

until running -n quality | grep -q _; do sleep 0.2; done
cancelled=$(running -n quality | head -n 1)
scancel "$cancelled"
say "cancelled $cancelled"
until [[ -n $(running -n quality -w node2) ]]; do sleep 0.2; done
lost=$(running -n quality -w node2 | tr '\n' ' ')
kill_node node2
say "killed the slurmd of node2 and what ran there: $lost"
for _ in $(seq 60); do
  squeue -h -o %T,%r | grep -q BeginTime && break  # requeued
  sleep 1
done
say "requeued by Slurm: $(squeue -h -o '%i %r' | grep -c BeginTime || true) tasks"
start_node node2
wait_for_all
say "the first submission ended; $(find "$here/cluster" -maxdepth 1 -name '*.json' | wc -l) records are there"
LOGS=$here/logs bash "$here/sweep.sh" >/dev/null
wait_for_all
say "the second submission ended"
compare
say "kept in $here"
