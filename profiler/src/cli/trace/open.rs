//! `inferometer trace open FILE|RUN_DIR`: how to look at a trace in Perfetto.
//!
//! It serves nothing and starts no browser. Perfetto's page reads a file that is given to it inside the browser; a page on
//! the web may fetch a trace by itself only from 127.0.0.1:9001, which a server would be needed for: Perfetto's own
//! `trace_processor` is one, and the better one for traces that are too large for a page.

use std::path::Path;

use traces::chrome;

use super::super::failure::Code;
use super::super::output;

/// Above this a page may run out of memory.
const LARGE: u64 = 500_000_000;

/// Tells the steps for each trace; a file that is no trace is refused.
pub(super) fn print(path: &Path) -> anyhow::Result<Code> {
    let mut files = super::recordings(path)?;
    // The overview of a run beside its cases.
    if path.is_dir() && !files.contains(&path.join(super::OVERVIEW)) {
        files.insert(0, path.join(super::OVERVIEW));
    }
    files.retain(|file| file == path || file.exists());
    let mut sizes = Vec::new();
    for file in &files {
        chrome::read(file)?;
        sizes.push(std::fs::metadata(file).map_err(record::Error::file(file, "read"))?.len());
    }
    output::print(told(&files, &sizes).as_bytes())?;
    Ok(Code::Done)
}

fn told(files: &[std::path::PathBuf], sizes: &[u64]) -> String {
    let mut lines = vec!["Open https://ui.perfetto.dev, choose `Open trace file` and give it".to_owned()];
    for (file, &bytes) in files.iter().zip(sizes) {
        let place = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        lines.push(format!("  {} ({:.1} MB)", place.display(), bytes as f64 / 1e6));
    }
    lines.push("The page reads it inside the browser: nothing is uploaded. Without a network it works once it was loaded before.".to_owned());
    if let Some((file, _)) = files.iter().zip(sizes).find(|(_, bytes)| **bytes > LARGE) {
        lines.push(format!(
            "A trace of this size needs Perfetto's own server: `trace_processor --httpd {}`, then the page.",
            file.display()
        ));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_name_file_and_size() {
        let text = told(&["/runs/a/trace.json".into()], &[12_340_000]);
        assert!(
            text.contains("https://ui.perfetto.dev") && text.contains("  /runs/a/trace.json (12.3 MB)\n"),
            "{text}"
        );
        assert!(!text.contains("trace_processor"), "{text}");
        let text = told(&["/runs/a/trace.json".into(), "/big.json".into()], &[1, 600_000_000]);
        assert!(text.contains("`trace_processor --httpd /big.json`"), "{text}");
    }
}
