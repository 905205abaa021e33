//! `linkspan image`.

use std::fmt::Write as _;
use std::path::PathBuf;

use linkspan_cri_api::v1;
use serde_json::json;
use tonic::Streaming;

use super::client::{Daemon, DaemonFlags};
use super::progress::{Bar, size};
use crate::Error;
use crate::admin::{LoadRequest, Progress, PullRequest};

/// What `linkspan image` can do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ImageCommand {
    /// Fetch an image from its registry; prints its ID.
    Pull {
        reference: String,
        /// Credentials as USER:PASSWORD; without a colon the password is read from LINKSPAN_PASSWORD.
        #[arg(long, value_name = "USER[:PASSWORD]")]
        creds: Option<String>,
    },
    /// Take in an OCI layout directory, an OCI archive or a `docker save` archive; prints the images' IDs.
    Load { archive: PathBuf },
    /// List the images on this node.
    #[command(visible_alias = "list")]
    Ls {
        /// Whole IDs only, one a line.
        #[arg(long, short)]
        quiet: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a name, or an image with all its names.
    #[command(visible_alias = "remove")]
    Rm {
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Show all that is known of an image, as JSON.
    Inspect { image: String },
}

pub(super) async fn run(command: ImageCommand, flags: &DaemonFlags) -> Result<(), Error> {
    let daemon = Daemon::connect(flags).await?;
    match command {
        ImageCommand::Pull { reference, creds } => {
            let (username, password) = credentials(creds);
            let request = PullRequest { reference: reference.clone(), username, password };
            follow(reference, daemon.admin().pull(request).await?.into_inner()).await
        }
        ImageCommand::Load { archive } => {
            let absolute = std::path::absolute(&archive).map_err(Error::io("finding", &archive))?;
            let request = LoadRequest { path: absolute.display().to_string() };
            follow(archive.display().to_string(), daemon.admin().load(request).await?.into_inner()).await
        }
        ImageCommand::Ls { quiet, json } => {
            let request = v1::ListImagesRequest { filter: None };
            let images = daemon.images().list_images(request).await?.into_inner().images;
            super::print(&match (quiet, json) {
                (true, _) => ids(&images),
                (false, true) => {
                    format!("{:#}\n", serde_json::Value::from_iter(images.iter().map(as_json)))
                }
                (false, false) => table(&images),
            })
        }
        ImageCommand::Rm { images } => {
            for image in images {
                daemon.images().remove_image(v1::RemoveImageRequest { image: named(&image) }).await?;
            }
            Ok(())
        }
        ImageCommand::Inspect { image } => {
            let request = v1::ImageStatusRequest { image: named(&image), verbose: true };
            let answer = daemon.images().image_status(request).await?.into_inner();
            let Some(found) = answer.image else { return Err(Error::NoSuchImage(image)) };
            let mut value = as_json(&found);
            let info = answer.info.get("info").and_then(|text| serde_json::from_str(text).ok());
            value["info"] = info.unwrap_or_default();
            super::print(&format!("{value:#}\n"))
        }
    }
}

fn named(image: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec { image: image.to_owned(), ..v1::ImageSpec::default() })
}

/// A password on the command line is seen by everybody on the machine, so there is a second way.
fn credentials(creds: Option<String>) -> (String, String) {
    match creds {
        None => (String::new(), String::new()),
        Some(creds) => match creds.split_once(':') {
            Some((username, password)) => (username.to_owned(), password.to_owned()),
            None => (creds, std::env::var("LINKSPAN_PASSWORD").unwrap_or_default()),
        },
    }
}

/// Shows progress to the end, then the IDs.
async fn follow(what: String, mut stream: Streaming<Progress>) -> Result<(), Error> {
    let mut bar = Bar::new(what);
    let mut ids = String::new();
    loop {
        let step = stream.message().await;
        match step {
            Ok(Some(progress)) => {
                bar.show(&progress);
                for id in progress.image_ids {
                    ids += &id;
                    ids.push('\n');
                }
            }
            Ok(None) => {
                bar.end();
                return super::print(&ids);
            }
            Err(status) => {
                bar.end();
                return Err(status.into());
            }
        }
    }
}

fn ids(images: &[v1::Image]) -> String {
    images.iter().fold(String::new(), |mut out, image| {
        let _ = writeln!(out, "{}", image.id);
        out
    })
}

fn table(images: &[v1::Image]) -> String {
    let mut rows = vec![["IMAGE", "TAG", "ID", "SIZE"].map(str::to_owned)];
    for image in images {
        let id = image.id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
        let names: Vec<_> = if image.repo_tags.is_empty() {
            image.repo_digests.iter().take(1).map(|name| split(name, '@')).collect()
        } else {
            image.repo_tags.iter().map(|name| split(name, ':')).collect()
        };
        for (name, tag) in names {
            rows.push([name, tag, id.clone(), size(image.size)]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name_width, tag_width, id_width) = (width(0), width(1), width(2));
    rows.iter().fold(String::new(), |mut out, [name, tag, id, size]| {
        let _ = writeln!(out, "{name:name_width$}  {tag:tag_width$}  {id:id_width$}  {size}");
        out
    })
}

/// `name:tag` or `name@digest`; a digest is not shown.
fn split(name: &str, at: char) -> (String, String) {
    match name.rsplit_once(at) {
        Some((name, tag)) if at == ':' => (name.to_owned(), tag.to_owned()),
        Some((name, _)) => (name.to_owned(), "<none>".to_owned()),
        None => (name.to_owned(), "<none>".to_owned()),
    }
}

fn as_json(image: &v1::Image) -> serde_json::Value {
    json!({
        "id": image.id,
        "repo_tags": image.repo_tags,
        "repo_digests": image.repo_digests,
        "size_bytes": image.size,
        "uid": image.uid.as_ref().map(|uid| uid.value),
        "username": image.username,
        "pinned": image.pinned,
    })
}

#[cfg(test)]
mod tests;
