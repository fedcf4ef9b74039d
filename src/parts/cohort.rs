//! When the next batch starts: the writers that a sync served should be served by one sync again.

/// When the next batch should start, so that clients that wait for each other's sync stay together.
///
/// Clients in a closed loop split into two cohorts of which one waits while the other's sync runs;
/// then every sync serves half of them. Whom the last sync served will write again within a
/// measurable time: where that is less than a sync takes, waiting for them serves all with one.
/// Where it is more (deep pipelines keep the cores busy for longer than the disk), the two cohorts
/// overlap work and sync, and nobody waits. A lone writer never waits.
#[derive(Debug, Default)]
pub(super) struct Cohort {
    /// When the last sync returned.
    synced_ns: u64,
    /// Smoothed time of a sync.
    sync_ns: u64,
    /// Smoothed time from a sync's return to a record, divided by the records.
    record_ns: u64,
    /// Records that came since then, and when the last one did.
    arrivals: u64,
    last_arrival_ns: u64,
    /// Records that are in once everybody is.
    expected: u64,
    /// Those that were in when the last sync returned.
    early: u64,
}

impl Cohort {
    /// A record came.
    pub(super) fn arrived(&mut self, now_ns: u64) {
        self.arrivals += 1;
        self.last_arrival_ns = now_ns;
    }

    /// A sync returned that served so many records, while so many waited.
    pub(super) fn synced(&mut self, now_ns: u64, took_ns: u64, served: u64, waiting: u64) {
        if self.arrivals > 1 {
            let each_ns = self.last_arrival_ns.saturating_sub(self.synced_ns) / self.arrivals;
            self.record_ns = smoothed(self.record_ns, each_ns);
        }
        self.sync_ns = smoothed(self.sync_ns, took_ns);
        self.synced_ns = now_ns;
        self.arrivals = 0;
        self.early = waiting;
        self.expected = served + waiting;
    }

    /// When a batch of so many records should go, at the latest; 0 for now.
    pub(super) fn due_ns(&self, records: u64) -> u64 {
        let missing = self.expected.saturating_sub(records);
        if self.expected <= 1 || missing == 0 {
            return 0;
        }
        let fill_ns = self.record_ns.saturating_mul(self.expected - self.early);
        if fill_ns > self.sync_ns {
            return 0;
        }
        self.synced_ns + self.sync_ns.min(2 * fill_ns)
    }
}

fn smoothed(old: u64, new: u64) -> u64 {
    if old == 0 { new } else { old - old / 8 + new / 8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC_NS: u64 = 200_000;

    /// Lets `writers` write in a closed loop, each `turn_ns` after its reply and one after the
    /// other; returns how many each sync served, from the tenth on.
    fn served(writers: u64, turn_ns: u64) -> Vec<u64> {
        let (mut cohort, mut now_ns, mut served) = (Cohort::default(), 0, Vec::new());
        // Those who have written, and when the others will.
        let (mut waiting, mut coming): (u64, Vec<u64>) =
            (0, (1..=writers).map(|n| n * turn_ns).collect());
        while served.len() < 30 {
            // Wait until the batch is due.
            loop {
                while coming.first().is_some_and(|at_ns| *at_ns <= now_ns) {
                    coming.remove(0);
                    waiting += 1;
                    cohort.arrived(now_ns);
                }
                if waiting > 0 && cohort.due_ns(waiting) <= now_ns {
                    break;
                }
                let next_ns = coming.first().copied().unwrap_or(u64::MAX);
                let due_ns = if waiting > 0 { cohort.due_ns(waiting) } else { u64::MAX };
                now_ns = next_ns.min(due_ns).max(now_ns + 1);
            }
            // Sync; some come meanwhile.
            let (batch, end_ns) = (std::mem::take(&mut waiting), now_ns + SYNC_NS);
            while coming.first().is_some_and(|at_ns| *at_ns <= end_ns) {
                now_ns = coming.remove(0);
                waiting += 1;
                cohort.arrived(now_ns);
            }
            now_ns = end_ns;
            cohort.synced(now_ns, SYNC_NS, batch, waiting);
            coming.extend((1..=batch).map(|n| now_ns + n * turn_ns));
            coming.sort_unstable();
            served.push(batch);
        }
        served.split_off(10)
    }

    #[test]
    fn a_lone_writer_never_waits() {
        assert!(served(1, 50_000).iter().all(|batch| *batch == 1));
    }

    #[test]
    fn writers_that_are_quick_against_the_disk_share_one_sync() {
        let batches = served(16, 5_000);
        assert!(batches.iter().all(|batch| *batch == 16), "{batches:?}");
    }

    #[test]
    fn writers_that_are_slow_against_the_disk_are_not_waited_for() {
        // All sixteen need 1.6 ms for their turns, eight syncs' time: work and sync overlap, and
        // no sync waits until all are in.
        let batches = served(16, 100_000);
        assert!(batches.iter().all(|batch| *batch < 16), "{batches:?}");
        let mean = batches.iter().sum::<u64>() / batches.len() as u64;
        assert!(mean <= 6, "{batches:?}");
    }
}
