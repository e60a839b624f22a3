#!/usr/bin/env bash
# Set up SLURM on this machine alone, one node on loopback, as root on Debian or Ubuntu: what tests/slurm runs on.
#
#   tests/slurm/set_up.sh          install what is missing, write the configuration, start the daemons, wait for the node
#   tests/slurm/set_up.sh stop     stop the daemons
set -euo pipefail

mark="# Written by tests/slurm/set_up.sh"
conf=/etc/slurm/slurm.conf
state=/var/lib/slurm-on-loopback
node=$(hostname -s)

stop() {
    for daemon in slurmd slurmctld; do
        if [[ -f $state/$daemon.pid ]]; then
            kill "$(cat "$state/$daemon.pid")" 2>/dev/null || true
        fi
    done
    if [[ -f $state/munged.pid ]]; then
        kill "$(cat "$state/munged.pid")" 2>/dev/null || true
    fi
}

if [[ ${1:-} == stop ]]; then
    stop
    exit
fi

if [[ -f $conf ]] && ! grep -q "$mark" "$conf"; then
    echo "$conf is of another SLURM. Use that, or move it away." >&2
    exit 1
fi

if ! command -v slurmctld slurmd sbatch munged >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge
fi

mkdir -p "$(dirname "$conf")" "$state"/{controller,node} /run/munge
cat >"$conf" <<END
$mark
ClusterName=loopback
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is queued again waits until its old credentials have expired, by default two minutes.
AuthInfo=cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/node
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=10
MinJobAge=3600
SchedulerParameters=sched_interval=5,batch_sched_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# Four places, however many cores there are.
SlurmdParameters=config_overrides
NodeName=$node NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=loopback Nodes=$node Default=YES MaxTime=INFINITE State=UP
END

stop
sleep 1
chown munge: /run/munge
runuser -u munge -- munged --pid-file=/run/munge/munged.pid
ln -sf /run/munge/munged.pid "$state/munged.pid"
slurmctld
slurmd -N "$node"
for _ in $(seq 60); do
    if [[ $(sinfo --noheader --format=%T 2>/dev/null) == idle ]]; then
        sinfo
        exit
    fi
    sleep 1
done
echo "The node did not become idle within a minute; see $state/*.log." >&2
exit 1
