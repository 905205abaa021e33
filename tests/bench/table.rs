//! Samples to a table of medians, and to JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;

#[derive(Default)]
struct Cell {
    times: Vec<Duration>,
    bytes: Option<u64>,
    bytes_per_second: Option<f64>,
}

/// Rows are cases in the order of their first sample, columns are endpoints.
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<(String, BTreeMap<String, Cell>)>,
}

impl Table {
    pub(crate) fn new(columns: Vec<String>) -> Table {
        Table { columns, rows: Vec::new() }
    }

    pub(crate) fn sample(&mut self, row: &str, column: &str, time: Duration) {
        self.cell(row, column).times.push(time);
    }

    pub(crate) fn bytes(&mut self, row: &str, column: &str, bytes: u64) {
        self.cell(row, column).bytes = Some(bytes);
    }

    pub(crate) fn rate(&mut self, row: &str, column: &str, bytes: u64, time: Duration) {
        self.cell(row, column).bytes_per_second = Some(bytes as f64 / time.as_secs_f64());
    }

    fn cell(&mut self, row: &str, column: &str) -> &mut Cell {
        if !self.columns.iter().any(|name| name == column) {
            self.columns.push(column.to_owned());
        }
        let index = self.rows.iter().position(|(name, _)| name == row).unwrap_or_else(|| {
            self.rows.push((row.to_owned(), BTreeMap::new()));
            self.rows.len() - 1
        });
        self.rows[index].1.entry(column.to_owned()).or_default()
    }

    /// Markdown: median and 90th percentile in milliseconds, memory in KiB, rates in MB/s.
    pub(crate) fn render(&self) -> String {
        let mut out = String::from("| case | ");
        out += &self.columns.join(" | ");
        out += " |\n|---|";
        out += &"---|".repeat(self.columns.len());
        out += "\n";
        for (row, cells) in &self.rows {
            let _ = write!(out, "| {row} |");
            for column in &self.columns {
                let text = cells.get(column).map(text).unwrap_or_default();
                let _ = write!(out, " {text} |");
            }
            out += "\n";
        }
        out += "\nTimes: median (90th percentile), ms. Memory: KiB. Bytes through an exec: MB/s.\n";
        out
    }

    pub(crate) fn json(&self) -> Result<String> {
        let mut cases = Vec::new();
        for (row, cells) in &self.rows {
            for (column, cell) in cells {
                cases.push(serde_json::json!({
                    "case": row,
                    "server": column,
                    "samples": cell.times.len(),
                    "median_us": percentile(&cell.times, 50).map(|time| time.as_micros()),
                    "p90_us": percentile(&cell.times, 90).map(|time| time.as_micros()),
                    "bytes": cell.bytes,
                    "bytes_per_second": cell.bytes_per_second,
                }));
            }
        }
        Ok(serde_json::to_string_pretty(&cases)? + "\n")
    }
}

fn text(cell: &Cell) -> String {
    if let Some(rate) = cell.bytes_per_second {
        return format!("{:.0}", rate / 1e6);
    }
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    match (cell.bytes, percentile(&cell.times, 50), percentile(&cell.times, 90)) {
        (Some(bytes), ..) => format!("{}", bytes / 1024),
        (None, Some(median), Some(_)) if cell.times.len() == 1 => format!("{:.1}", ms(median)),
        (None, Some(median), Some(p90)) => format!("{:.1} ({:.1})", ms(median), ms(p90)),
        _ => String::new(),
    }
}

fn percentile(times: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied()
}
