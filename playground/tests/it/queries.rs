//! Each query that is printed finds the traces that it is printed for.

use crate::{
    run::{Said, bare, playground},
    store::Store,
};

#[test]
fn each_query_finds_exactly_the_traces_that_the_summary_has_for_it() {
    let store = Store::start();
    // Two runs, of which neither finds what the other has left.
    for seed in ["1", "2"] {
        let mut playground = playground(store.endpoint(), &["--requests", "36", "--seed", seed]);
        let said = Said::by(&mut playground);
        assert_eq!(said.code, Some(0), "{}", said.summary);
        assert_eq!(said.traces().len(), 36, "{}", said.summary);
        let queries = said.queries();
        assert_eq!(queries.len(), 7, "{}", said.summary);
        for asked in queries {
            let found = store.find(&asked.query).unwrap();
            assert_eq!(found, said.marked(&asked.mark), "{}", asked.query);
            assert_eq!(found.len(), asked.finds, "{}", asked.query);
            // One of each kind is among twelve.
            assert!(asked.finds >= 3, "{}", asked.query);
        }
    }
}

#[test]
fn without_latency_each_query_finds_what_the_summary_says_as_well() {
    let store = Store::start();
    let arguments = ["--latency", "0", "--rate", "1000", "--requests", "240"];
    let said = Said::by(&mut bare(store.endpoint(), &arguments));
    assert_eq!(said.code, Some(0), "{}", said.summary);
    for asked in said.queries() {
        let found = store.find(&asked.query).unwrap();
        assert_eq!(found.len(), asked.finds, "{}", asked.query);
    }
}

#[test]
fn a_seed_makes_the_same_requests_again_under_other_ids() {
    let store = Store::start();
    let play = |seed: &str| {
        let arguments = ["--seed", seed, "--latency", "0", "--rate", "100"];
        let said = Said::by(&mut bare(store.endpoint(), &arguments));
        assert_eq!(said.code, Some(0), "{}", said.summary);
        said.traces()
    };
    let (first, again, other) = (play("7"), play("7"), play("8"));
    let shape = |traces: &[crate::run::Listed]| {
        let shown = traces.iter().map(|trace| {
            let tree = crate::traces::tree(&store, &trace.id);
            // How long it took is not among what the seed decides.
            let marks = trace.marks.iter().filter(|mark| *mark != "slow");
            let marks: Vec<_> = marks.cloned().collect();
            (trace.request.clone(), marks, tree)
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        shown
    };
    assert_eq!(shape(&first), shape(&again));
    assert_ne!(shape(&first), shape(&other));
    let ids = |traces: Vec<crate::run::Listed>| {
        traces
            .into_iter()
            .map(|trace| trace.id)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert!(ids(first).is_disjoint(&ids(again)));
}
