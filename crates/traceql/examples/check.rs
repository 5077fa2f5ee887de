//! Prints a query in its canonical form and the fields that it reads, or points at what is wrong with it.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

fn main() -> io::Result<ExitCode> {
    let text = env::args().skip(1).collect::<Vec<_>>().join(" ");
    match traceql::parse(&text) {
        Ok(query) => {
            let mut out = io::stdout().lock();
            writeln!(out, "{query}")?;
            for field in query.fields() {
                writeln!(out, "reads {field}")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // The offset is one of bytes, what stands above the mark is characters.
            let before = text.get(..error.offset).unwrap_or(&text);
            let mark = " ".repeat(before.chars().count());
            writeln!(io::stderr(), "{text}\n{mark}^ {}", error.message)?;
            Ok(ExitCode::FAILURE)
        }
    }
}
