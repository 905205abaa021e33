//! `docs/threat-model.md` is whole: every actor has its answer for every asset, every refusal names tests that exist, and
//! every file with unsafe code stands there with its reason.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{files, read, report, root};

const PAGE: &str = "docs/threat-model.md";

/// The cells of a table's rows below a heading, the head included and the rule left out.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let section = page.split(&format!("\n## {heading}\n")).nth(1);
    let section = section.unwrap_or_else(|| panic!("{PAGE} has no section {heading:?}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The first column of a table, without its head.
fn names(page: &str, heading: &str) -> Vec<String> {
    table(page, heading).into_iter().skip(1).filter_map(|row| row.into_iter().next()).collect()
}

#[test]
fn every_actor_has_an_answer_for_every_asset_and_every_refusal_its_test() {
    let page = read(Path::new(PAGE));
    let (actors, assets) = (names(&page, "Actors"), names(&page, "Assets"));
    let sources: String = files("rs").iter().chain(&stages()).map(|path| read(path)).collect();
    let mut broken = Vec::new();
    for actor in &actors {
        let rows = table(&page, &format!("What is refused: {actor}"));
        let told: Vec<&String> = rows.iter().skip(1).filter_map(|row| row.first()).collect();
        if told != assets.iter().collect::<Vec<_>>() {
            broken.push(format!("{actor}: its assets are not those of the table, in their order"));
        }
        for row in rows.iter().skip(1) {
            let [asset, answer, shown] = row.as_slice() else {
                broken.push(format!("{actor}: {row:?} has not three cells"));
                continue;
            };
            let tests: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
            match answer.split(':').next().unwrap_or_default() {
                "no" if tests.is_empty() => {
                    broken.push(format!("{actor}, {asset}: a refusal without a test"))
                }
                "no" => {}
                "yes" if answer.contains(':') => {}
                "yes" => broken.push(format!("{actor}, {asset}: allowed without a reason")),
                _ => broken.push(format!("{actor}, {asset}: neither a no nor a yes")),
            }
            let last = |name: &&str| name.rsplit("::").next().unwrap_or_default().to_owned();
            let missing = tests.iter().filter(|name| {
                let name = last(name);
                !sources.contains(&format!("fn {name}(")) && !sources.contains(&format!("{name}() {{"))
            });
            broken.extend(missing.map(|name| format!("{actor}, {asset}: there is no test {name}")));
        }
    }
    report(PAGE, broken);
}

/// They have no ending to be known by.
fn stages() -> Vec<PathBuf> {
    let dir = Path::new("contrib/stages");
    let entries = std::fs::read_dir(root().join(dir)).expect("the stages");
    entries.flatten().map(|entry| dir.join(entry.file_name())).collect()
}

#[test]
fn every_file_with_unsafe_code_is_listed_with_its_reason() {
    let page = read(Path::new(PAGE));
    let told: BTreeSet<String> =
        names(&page, "Unsafe code").iter().map(|name| name.replace('`', "")).collect();
    let block = ["unsafe ", "{"].concat();
    let there: BTreeSet<String> = files("rs")
        .iter()
        .filter(|path| path.ends_with("sys.rs") && read(path).contains(&block))
        .map(|path| path.display().to_string())
        .collect();
    let broken = there
        .symmetric_difference(&told)
        .map(|path| format!("{path} is not both in the tree and in the list"))
        .chain(table(&page, "Unsafe code").iter().filter(|row| row.len() != 2).map(|row| format!("{row:?}")))
        .collect();
    report(PAGE, broken);
}
