//! What was done, for whoever reads the report.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::check::Checker;
use crate::churn::{Calls, Worker};
use crate::strike::Fault;

/// Rounds by fault.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Those with a hit, and those where there was nobody to be hit.
    rounds: BTreeMap<Fault, (usize, usize)>,
    /// Named instants that were come to.
    pub(crate) points: usize,
}

impl Tally {
    pub(crate) fn note(&mut self, fault: Fault, hit: bool) {
        let (hits, misses) = self.rounds.entry(fault).or_default();
        *if hit { hits } else { misses } += 1;
    }

    pub(crate) fn print(&self, workers: &[Worker], checker: &Checker, lasted: Duration) {
        println!("{:<26} {:>6} {:>11}", "killed", "rounds", "nobody hit");
        for (fault, (hits, misses)) in &self.rounds {
            println!("{:<26} {hits:>6} {misses:>11}", fault.name());
        }
        let mut calls = Calls::new();
        for (rpc, (ok, failed)) in workers.iter().flat_map(|worker| &worker.calls) {
            let of_all = calls.entry(rpc).or_default();
            *of_all = (of_all.0 + ok, of_all.1 + failed);
        }
        println!("{:<26} {:>6} {:>11}", "calls", "OK", "failed");
        for (rpc, (ok, failed)) in calls {
            println!("{rpc:<26} {ok:>6} {failed:>11}");
        }
        let (known, unknown) = (checker.exits_known, checker.exits_unknown);
        let rounds: usize = self.rounds.values().map(|(hits, misses)| hits + misses).sum();
        let lost = checker.reservations_lost;
        println!("{lost} addresses whose reservation host-local was killed over");
        println!("{known} exits with the right code, {unknown} honestly unknown");
        let points = self.points;
        println!("{rounds} rounds and {points} crash points in {:.1} s", lasted.as_secs_f64());
    }
}
