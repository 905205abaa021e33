//! The known name nearest to a mistyped one.

/// The candidate that takes the fewest edits, if it is close enough to be what was meant.
pub(crate) fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (edits(typed, name), name))
        .min()
        .filter(|(edits, name)| *edits <= name.len().max(typed.len()).div_ceil(2))
        .map(|(_, name)| name)
}

/// Levenshtein distance, by bytes: option names are ASCII.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
