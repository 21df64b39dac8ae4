//! Text tables: columns as wide as their widest cell, numbers to the right, columns without any value left out.

use std::fmt::Write;

/// A cell that has no value.
pub const NONE: &str = "-";

/// Rows under a header.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// As many cells as the header has.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.header.len());
        self.rows.push(cells);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Columns are two spaces apart; no line ends in a space.
    pub fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                cells.chain([self.header[column].len()]).max().unwrap_or(0)
            })
            .collect();
        let numeric: Vec<bool> = (0..self.header.len())
            .map(|column| !self.is_empty() && self.rows.iter().all(|row| is_number(&row[column])))
            .collect();
        let empty: Vec<bool> = (0..self.header.len())
            .map(|column| !self.is_empty() && self.rows.iter().all(|row| row[column] == NONE))
            .collect();
        let mut text = String::new();
        let header = self.header.iter().map(|h| (*h).to_owned()).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate().filter(|(column, _)| !empty[*column]) {
                let gap = " ".repeat(widths[column] - cell.chars().count());
                let (left, right) = if numeric[column] { (gap.as_str(), "") } else { ("", gap.as_str()) };
                // Writing to a String can't fail.
                let _ = write!(line, "{left}{cell}{right}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn is_number(cell: &str) -> bool {
    cell.starts_with(|c: char| c.is_ascii_digit())
        && cell.chars().all(|c| c.is_ascii_digit() || ".%/s".contains(c))
}

#[cfg(test)]
mod tests {
    use super::{NONE, Table};

    #[test]
    fn numbers_go_to_the_right() {
        let mut table = Table::new(&["name", "flows"]);
        table.row(vec!["a".into(), "1".into()]);
        table.row(vec!["longer".into(), "1000000".into()]);
        assert_eq!(table.render(), "name      flows\na             1\nlonger  1000000\n");
    }

    #[test]
    fn columns_without_values_are_left_out() {
        let mut table = Table::new(&["name", "rate", "flows"]);
        table.row(vec!["a".into(), NONE.into(), "1".into()]);
        assert_eq!(table.render(), "name  flows\na         1\n");
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(Table::new(&["a", "b"]).render(), "a  b\n");
    }
}
