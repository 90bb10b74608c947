//! `inferometer trace open FILE|RUN_DIR`: how to open a trace in Perfetto.
//!
//! This command starts neither a server nor a browser. The user gives the file to Perfetto's page. The page can fetch a trace
//! only from a server at 127.0.0.1:9001, such as Perfetto's `trace_processor`, which large traces need anyway.

use std::path::Path;

use record::Printable;
use traces::chrome;

use super::super::failure::Code;
use super::super::output;

/// Larger traces may exceed the memory of a page.
const LARGE: u64 = 500_000_000;

/// Prints the steps for each trace; a file that is not a trace is an error.
pub(super) fn print(path: &Path) -> anyhow::Result<Code> {
    let path = &super::place(path);
    let mut files = super::recordings(path)?;
    // The trace of the whole run, too.
    if path.is_dir() && !files.contains(&path.join(super::OVERVIEW)) {
        files.insert(0, path.join(super::OVERVIEW));
    }
    files.retain(|file| file == path || file.exists());
    let mut sizes = Vec::new();
    for file in &files {
        chrome::read(file)?;
        sizes.push(std::fs::metadata(file).map_err(record::Error::file(file, "read"))?.len());
    }
    output::print(&Printable::new(&steps(&files, &sizes)))?;
    Ok(Code::Done)
}

fn steps(files: &[std::path::PathBuf], sizes: &[u64]) -> String {
    let mut lines = vec!["Open https://ui.perfetto.dev, choose `Open trace file` and select".to_owned()];
    for (file, &bytes) in files.iter().zip(sizes) {
        let path = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        lines.push(format!("  {} ({:.1} MB)", path.display(), bytes as f64 / 1e6));
    }
    lines.push("The page reads the file inside the browser; nothing is uploaded. After its first load the page also works offline.".to_owned());
    if let Some((file, _)) = files.iter().zip(sizes).find(|(_, bytes)| **bytes > LARGE) {
        lines.push(format!(
            "A trace of this size needs Perfetto's server: run `trace_processor --httpd {}`, then open the page.",
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
        let text = steps(&["/runs/a/trace.json".into()], &[12_340_000]);
        assert!(
            text.contains("https://ui.perfetto.dev") && text.contains("  /runs/a/trace.json (12.3 MB)\n"),
            "{text}"
        );
        assert!(!text.contains("trace_processor"), "{text}");
        let text = steps(&["/runs/a/trace.json".into(), "/big.json".into()], &[1, 600_000_000]);
        assert!(text.contains("`trace_processor --httpd /big.json`"), "{text}");
    }
}
