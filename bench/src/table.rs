//! Tables, for people and for Org.

use std::fmt::Write as _;

/// Rows of text: the first column says what, the others how much.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(title: impl Into<String>, head: [&str; N]) -> Self {
        Self {
            title: title.into(),
            head: head.map(str::to_owned).into(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let lines = || self.rows.iter().chain([&self.head]);
        let width = |column: usize| {
            let cells = lines().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..self.head.len()).map(width).collect()
    }

    /// For a terminal, with its title above.
    pub(crate) fn plain(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for line in [&self.head].into_iter().chain(&self.rows) {
            let cells = aligned(line, &self.widths());
            let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
        }
        text
    }

    /// For a page in Org, without its title.
    pub(crate) fn org(&self) -> String {
        let widths = self.widths();
        let line = |cells: &Vec<String>| format!("| {} |\n", aligned(cells, &widths).join(" | "));
        let rule: Vec<_> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        let mut text = line(&self.head);
        let _ = writeln!(text, "|{}|", rule.join("+"));
        text.extend(self.rows.iter().map(line));
        text
    }
}

/// The first cell to the left, all others to the right.
fn aligned(cells: &[String], widths: &[usize]) -> Vec<String> {
    let cells = cells.iter().zip(widths).enumerate();
    cells
        .map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Table;

    fn table() -> Table {
        let mut table = Table::new("Costs", ["", "µs"]);
        table.row(["none".to_owned(), "7".to_owned()]);
        table.row(["no-op".to_owned(), "10.5".to_owned()]);
        table
    }

    #[test]
    fn numbers_stand_to_the_right() {
        assert_eq!(
            table().plain(),
            "Costs\n           µs\n  none      7\n  no-op  10.5\n"
        );
    }

    #[test]
    fn org_has_a_rule_below_the_head() {
        let expected = "|       |   µs |\n|-------+------|\n| none  |    7 |\n| no-op | 10.5 |\n";
        assert_eq!(table().org(), expected);
    }
}
