//! What must hold on every machine, however slow: numbers of spans.

use serde::Serialize;

use crate::subject::Subject;
use crate::table::Table;

/// What was made, and what arrived, in the whole run.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Counts(Vec<Count>);

#[derive(Debug, Serialize)]
struct Count {
    /// Of which part of the run.
    what: &'static str,
    subject: &'static str,
    made: u64,
    arrived: u64,
    /// Whether all of them have to.
    promised: bool,
}

impl Counts {
    /// Spans that were made where nothing kept the pipeline from exporting them: of ours each has to arrive.
    pub(crate) fn spans(&mut self, what: &'static str, subject: Subject, made: u64, arrived: u64) {
        self.add(
            what,
            subject.name(),
            made,
            arrived,
            subject == Subject::Ours,
        );
    }

    /// Spans of something else, which all have to arrive.
    pub(crate) fn promised(
        &mut self,
        what: &'static str,
        subject: &'static str,
        made: u64,
        arrived: u64,
    ) {
        self.add(what, subject, made, arrived, true);
    }

    fn add(
        &mut self,
        what: &'static str,
        subject: &'static str,
        made: u64,
        arrived: u64,
        promised: bool,
    ) {
        let count = self
            .0
            .iter_mut()
            .find(|it| it.what == what && it.subject == subject);
        match count {
            Some(count) => {
                count.made += made;
                count.arrived += arrived;
            }
            None => self.0.push(Count {
                what,
                subject,
                made,
                arrived,
                promised,
            }),
        }
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new("Spans made and arrived", ["", "of", "made", "arrived"]);
        for count in &self.0 {
            table.row([
                count.subject.to_owned(),
                count.what.to_owned(),
                count.made.to_string(),
                count.arrived.to_string(),
            ]);
        }
        table
    }

    /// What does not hold, in words.
    pub(crate) fn broken(&self) -> Vec<String> {
        let broken = self.0.iter().filter(|count| !count.holds());
        broken
            .map(|count| {
                let Count {
                    what,
                    subject,
                    made,
                    arrived,
                    ..
                } = count;
                format!("{what}: {arrived} spans of {subject} arrived of {made}")
            })
            .collect()
    }
}

impl Count {
    fn holds(&self) -> bool {
        !self.promised || self.made == self.arrived
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;
    use crate::subject::Subject;

    #[test]
    fn one_lost_span_of_ours_breaks_the_run_and_one_of_the_others_does_not() {
        let mut counts = Counts::default();
        counts.spans("bursts", Subject::Ours, 10, 10);
        counts.spans("bursts", Subject::Stock, 10, 9);
        assert!(counts.broken().is_empty());
        counts.spans("bursts", Subject::Ours, 10, 9);
        let broken = counts.broken();
        assert_eq!(broken, ["bursts: 19 spans of ours arrived of 20"]);
    }
}
