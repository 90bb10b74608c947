//! A run folder while it is written.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::samples::Samples;
use super::{CaseOutput, Error, Printable, RunFile, Sample, Setting, atomic, files, table};

/// An open run folder. Samples are appended as they happen; every other file is replaced whole.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    samples: Samples,
}

impl Store {
    /// A new run folder, with its parents. A folder that exists may hold other things, but no run.
    ///
    /// # Errors
    /// When it cannot be written or already contains a run.
    pub fn create(dir: &Path) -> Result<Self, Error> {
        Self::check_new(dir)?;
        let outputs = dir.join(files::OUTPUTS);
        fs::create_dir_all(&outputs).map_err(Error::file(&outputs, "create"))?;
        let samples = Samples::create(dir.join(files::SAMPLES))?;
        Ok(Self { dir: dir.to_path_buf(), samples })
    }

    /// Checks that a folder can get a new run, without writing anything.
    ///
    /// # Errors
    /// When it contains a run, or is a file.
    pub fn check_new(dir: &Path) -> Result<(), Error> {
        if dir.is_file() {
            return Err(Error::Content {
                path: dir.to_path_buf(),
                problem: "is a file: a run needs a folder".to_owned(),
                advice: format!("choose another name ({})", Setting::Out),
            });
        }
        for taken in [files::RUN, files::SAMPLES] {
            if dir.join(taken).exists() {
                let problem = format!("already contains a run ({taken})");
                let advice =
                    format!("choose another folder, or continue it with {} {}", Setting::Resume, dir.display());
                return Err(Error::Content { path: dir.to_path_buf(), problem, advice });
            }
        }
        Ok(())
    }

    /// Checks that a folder contains a run that can be continued, without writing anything.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_resumed(dir: &Path) -> Result<(), Error> {
        if dir.join(files::SAMPLES).exists() {
            return Ok(());
        }
        Err(Error::Content {
            path: dir.to_path_buf(),
            problem: format!("contains no run (no {})", files::SAMPLES),
            advice: format!("give the folder of an earlier run, or omit {}", Setting::Resume),
        })
    }

    /// An earlier run's folder, with the samples that are there already.
    ///
    /// # Errors
    /// When it contains no run, cannot be written, or its samples cannot be read.
    pub fn resume(dir: &Path) -> Result<(Self, Vec<Sample>), Error> {
        Self::check_resumed(dir)?;
        let outputs = dir.join(files::OUTPUTS);
        fs::create_dir_all(&outputs).map_err(Error::file(&outputs, "create"))?;
        let (samples, found) = Samples::resume(dir.join(files::SAMPLES))?;
        Ok((Self { dir: dir.to_path_buf(), samples }, found))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends a sample: its line is written when this returns.
    ///
    /// # Errors
    /// When the file cannot be written, such as for lack of space.
    pub fn sample(&mut self, sample: &Sample) -> Result<(), Error> {
        self.samples.append(sample)
    }

    /// Writes the output of a case: its text as `outputs/CASE.txt`, in a form that a terminal can show, and all of it as
    /// `outputs/CASE.json`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn output(&self, case: &str, output: &CaseOutput) -> Result<(), Error> {
        let name = file_name(case);
        let folder = self.dir.join(files::OUTPUTS);
        atomic::write(&folder.join(format!("{name}.txt")), &Printable::new(&output.text))?;
        write_json(&folder.join(format!("{name}.json")), output)
    }

    /// Replaces `run.json`.
    ///
    /// # Errors
    /// When it cannot be written; the old one stays.
    pub fn write_run(&self, file: &RunFile) -> Result<(), Error> {
        write_json(&self.dir.join(files::RUN), file)
    }

    /// Writes `run.json` and `results.csv`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(&self, file: &RunFile) -> Result<(), Error> {
        self.write_run(file)?;
        atomic::write(&self.dir.join(files::TABLE), &table::csv(file))
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = Printable::json(value).map_err(|error| Error::file(path, "encode")(error.into()))?;
    atomic::write(path, &text)
}

/// A case's id as a file name: `candle/smollm2-135m/photosynthesis/t2/d0` -> `candle_smollm2-135m_photosynthesis_t2_d0`.
/// Where other characters than slashes are replaced, four bytes of the hash of the id make the name unique.
pub fn file_name(case: &str) -> String {
    use sha2::{Digest, Sha256};
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let name: String = case.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if case.chars().all(|c| plain(c) || c == '/') && !name.starts_with('.') && name.len() <= 200 {
        return name;
    }
    let hash: String = Sha256::digest(case).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let start: String = name.trim_start_matches('.').chars().take(180).collect();
    format!("{start}-{hash}")
}

#[cfg(test)]
mod tests {
    use engine_api::Advice;

    use super::*;

    #[test]
    fn names_of_files_are_plain_and_apart() {
        assert_eq!(file_name("candle/smollm2-135m/ai/t2/d0"), "candle_smollm2-135m_ai_t2_d0");
        let (a, b) = (file_name("mock/a b/p"), file_name("mock/a_b/p"));
        assert_ne!(a, b);
        for name in [a, b, file_name("../../x"), file_name(&"é".repeat(300))] {
            assert!(name.len() < 220 && !name.starts_with('.') && !name.contains('/'), "{name}");
        }
    }

    #[test]
    fn a_folder_with_a_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        let mut store = Store::create(&dir).unwrap();
        store.sample(&Sample::absent("not measured")).unwrap();
        let text = Store::create(&dir).unwrap_err().with_advice();
        assert!(text.contains("already contains a run") && text.contains("`resume`"), "{text}");
        assert_eq!(Store::resume(&dir).unwrap().1.len(), 1);
    }

    #[test]
    fn a_folder_without_a_run_is_not_resumed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Store::resume(folder.path()).unwrap_err().to_string().contains("contains no run"));
    }

    #[test]
    fn outputs_are_kept_under_the_cases_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("run")).unwrap();
        store
            .output("mock/tiny/p/t1/d0", &CaseOutput { text: "hello".to_owned(), ..CaseOutput::absent("unused") })
            .unwrap();
        assert_eq!(fs::read_to_string(store.dir().join("outputs/mock_tiny_p_t1_d0.txt")).unwrap(), "hello");
        assert!(store.dir().join("outputs/mock_tiny_p_t1_d0.json").exists());
    }
}
