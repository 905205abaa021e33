//! The pod that all sessions go to: a shell, one that answers its input, one on a terminal, and nginx with files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::client::{self, Images, Runtime};
use linkspan_tests::requests::{BUSYBOX, NGINX};
use linkspan_tests::streaming::{self, Channels, Streams};

pub(crate) const FILES: usize = 8;
pub(crate) const FILE_BYTES: usize = 1 << 20;

pub(crate) struct Pods {
    pub(crate) runtime: Runtime,
    pub(crate) socket: PathBuf,
    pub(crate) sandbox_id: String,
    /// Sleeps.
    pub(crate) shell: String,
    /// Says `got` and each line of its input.
    pub(crate) answering: String,
    /// A shell on a terminal.
    pub(crate) terminal: String,
    _logs: tempfile::TempDir,
}

/// What a file has in it: no two are alike, and no two places of one.
pub(crate) fn file(number: usize) -> Vec<u8> {
    (0..FILE_BYTES as u64 / 8)
        .flat_map(|place| (place ^ (number as u64) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

impl Pods {
    pub(crate) async fn start(socket: &Path, mut runtime: Runtime, mut images: Images) -> Result<Pods> {
        for image in [BUSYBOX, NGINX] {
            let image = Some(linkspan_tests::requests::image(image));
            images.pull_image(v1::PullImageRequest { image, ..Default::default() }).await?;
        }
        let logs = tempfile::tempdir()?;
        let sandbox = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "stress".into(),
                uid: "stress".into(),
                namespace: "stress".into(),
                attempt: 0,
            }),
            log_directory: logs.path().display().to_string(),
            linux: Some(v1::LinuxPodSandboxConfig::default()),
            ..Default::default()
        };
        let sandbox_id = client::run_sandbox(&mut runtime, &sandbox).await?;
        let mut pods = Pods {
            runtime,
            socket: socket.to_owned(),
            sandbox_id,
            shell: String::new(),
            answering: String::new(),
            terminal: String::new(),
            _logs: logs,
        };
        let idle = linkspan_tests::requests::idle("shell");
        pods.shell = pods.container(&sandbox, idle).await?;
        let line = "while read line; do echo got $line; done";
        let mut config = linkspan_tests::requests::container("answering", &["sh", "-c", line]);
        config.stdin = true;
        pods.answering = pods.container(&sandbox, config).await?;
        let mut config = linkspan_tests::requests::container("terminal", &["sh"]);
        (config.stdin, config.tty) = (true, true);
        pods.terminal = pods.container(&sandbox, config).await?;
        let mut config = linkspan_tests::requests::container("nginx", &[]);
        config.image = Some(linkspan_tests::requests::image(NGINX));
        let nginx = pods.container(&sandbox, config).await?;
        for number in 0..FILES {
            pods.upload(&nginx, number).await?;
        }
        Ok(pods)
    }

    async fn container(
        &mut self,
        sandbox: &v1::PodSandboxConfig,
        config: v1::ContainerConfig,
    ) -> Result<String> {
        Ok(client::start_container(&mut self.runtime, &self.sandbox_id, config, sandbox).await?)
    }

    /// Puts a file where nginx serves it, through an exec's input.
    async fn upload(&self, nginx: &str, number: usize) -> Result<()> {
        let line = format!("head -c {FILE_BYTES} >/var/www/html/file-{number}");
        let command = ["sh", "-c", line.as_str()];
        let url = streaming::exec_url(&mut self.runtime.clone(), nginx, &command, Streams::ALL).await?;
        let mut session = Channels::open(&url, "v4.channel.k8s.io").await?;
        for part in file(number).chunks(30_000) {
            session.send(streaming::channel::STDIN, part).await?;
        }
        let ended = session.end().await?;
        ensure!(ended.exit_code() == Some(0), "uploading file {number}: {ended:?}");
        Ok(())
    }

    /// How many processes the containers have.
    pub(crate) async fn processes(&self) -> Result<usize> {
        let mut count = 0;
        for id in [&self.shell, &self.answering, &self.terminal] {
            let request = v1::ExecSyncRequest {
                container_id: id.clone(),
                cmd: ["sh", "-c", "ls -d /proc/[0-9]* | wc -l"].map(str::to_owned).to_vec(),
                timeout: 20,
            };
            let answer = self.runtime.clone().exec_sync(request).await?.into_inner();
            let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
            count += text.parse::<usize>().with_context(|| format!("a count: {text:?}"))?;
        }
        Ok(count)
    }

    pub(crate) async fn remove(mut self) -> Result<()> {
        Ok(client::remove_sandbox(&mut self.runtime, &self.sandbox_id).await?)
    }
}
