//! The large image: over 400 MB to fetch, nine layers, thousands of files.

use std::io::{self, Write};

use super::content::Content;
use super::layer::{Compression, Layer};
use super::odd;
use super::storage::Storage;
use super::tar::{Entry, TarWriter};

pub fn layers(storage: &Storage) -> io::Result<Vec<Layer>> {
    let mut layers = vec![
        Layer::write(storage, Compression::Gzip, programs)?,
        Layer::write(storage, Compression::Gzip, texts)?,
        Layer::write(storage, Compression::Gzip, small_files)?,
        Layer::of(
            storage,
            Compression::Gzip,
            &[
                Entry::directory("srv/", 0o755),
                Entry::generated("srv/model", 0o644, Content::Noise { seed: 5, length: 180 << 20 }),
            ],
        )?,
        Layer::write(storage, Compression::Gzip, changes)?,
    ];
    layers.extend(odd::layers(storage, Compression::Gzip)?);
    Ok(layers)
}

type Tar<'a> = TarWriter<&'a mut dyn Write>;

fn programs(tar: &mut Tar<'_>) -> io::Result<()> {
    tar.entries(&[Entry::directory("opt/", 0o755), Entry::directory("opt/bin/", 0o755)])?;
    (0..400).try_for_each(|number| {
        let content = Content::Noise { seed: 1000 + number, length: 400 << 10 };
        tar.entry(&Entry::generated(&format!("opt/bin/program-{number:03}"), 0o755, content))
    })
}

fn texts(tar: &mut Tar<'_>) -> io::Result<()> {
    tar.entries(&[Entry::directory("opt/", 0o755), Entry::directory("opt/share/", 0o755)])?;
    (0..150).try_for_each(|number| {
        let content = Content::Words { seed: 2000 + number, length: 1 << 20 };
        tar.entry(&Entry::generated(&format!("opt/share/text-{number:03}"), 0o644, content))
    })
}

fn small_files(tar: &mut Tar<'_>) -> io::Result<()> {
    tar.entries(&[Entry::directory("opt/", 0o755), Entry::directory("opt/modules/", 0o755)])?;
    for folder in 0..120 {
        tar.entry(&Entry::directory(&format!("opt/modules/{folder:03}/"), 0o755).owner(folder, folder))?;
        for number in 0..100 {
            let seed = 10_000 + folder * 100 + number;
            let content = Content::Words { seed, length: 512 + seed * 37 % 7000 };
            let name = format!("opt/modules/{folder:03}/module-{number:02}.js");
            tar.entry(&Entry::generated(&name, 0o644, content).mtime(1_690_000_000 + seed, 0))?;
        }
    }
    Ok(())
}

fn changes(tar: &mut Tar<'_>) -> io::Result<()> {
    tar.entries(&[Entry::directory("opt/", 0o755), Entry::directory("opt/bin/", 0o755)])?;
    for number in (0..400).step_by(10) {
        tar.entry(&Entry::file(&format!("opt/bin/.wh.program-{number:03}"), 0, ""))?;
    }
    tar.entries(&[Entry::directory("opt/modules/", 0o755), Entry::directory("opt/modules/007/", 0o755)])?;
    tar.entry(&Entry::file("opt/modules/007/.wh..wh..opq", 0, ""))?;
    for number in 0..20 {
        let content = Content::Words { seed: 90_000 + number, length: 1 << 20 };
        tar.entry(&Entry::generated(&format!("opt/modules/007/bundle-{number:02}"), 0o644, content))?;
    }
    Ok(())
}
