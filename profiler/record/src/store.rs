//! A run folder while it is written.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use traces::{Nanos, clock};

use super::journal::{self, Entry, Journalled, Keep};
use super::json_lines::{self, JsonLines};
use super::{CaseOutput, Error, FolderLock, Printable, RunFile, Setting, atomic, files, table};

/// How long lines of the journal may be in the system's memory alone: a crash of the machine loses requests that took no longer
/// together, besides the one that runs. The end of this process loses none.
const SYNC_AFTER: Nanos = Nanos::from_secs(1);

/// An open run folder. What is measured is appended to the journal as it happens; every other file follows from it.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    journal: JsonLines,
    samples: JsonLines,
    synced: Nanos,
    _lock: FolderLock,
}

impl Store {
    /// A new run in a locked folder, which may hold other things, but no run.
    ///
    /// # Errors
    /// When it cannot be written or already contains a run.
    pub fn create(lock: FolderLock, file: &RunFile) -> Result<Self, Error> {
        Self::check_new(lock.dir())?;
        Self::begin(lock.dir(), file)?;
        let store = Self::open(lock)?;
        store.write_run(file)?;
        Ok(store)
    }

    /// Continues the run of a locked folder: `earlier` is what [`Self::earlier`] has read there, `file` the record that continues it, with
    /// everything of the earlier one.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn resume(lock: FolderLock, earlier: &RunFile, file: &RunFile) -> Result<Self, Error> {
        let dir = lock.dir().to_path_buf();
        if journal::replay(&dir, Keep::File)?.is_none() {
            // An earlier version wrote the folder, or the first line is damaged.
            let path = dir.join(files::JOURNAL);
            if path.exists() {
                let kept = dir.join(files::DAMAGED_JOURNAL);
                fs::rename(&path, &kept).map_err(Error::file(&path, "rename"))?;
            }
            Self::begin(&dir, earlier)?;
        }
        let mut store = Self::open(lock)?;
        store.add(&Entry::Fields(Box::new(file.besides_cases())))?;
        store.sync()?;
        store.complete_samples()?;
        for case in &file.cases {
            if let Some(output) = &case.output {
                store.output(&case.id, output)?;
            }
        }
        store.write_run(file)?;
        Ok(store)
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
        let is_there = |name: &str| fs::metadata(dir.join(name)).is_ok_and(|file| file.len() > 0 || !file.is_file());
        // An empty file was created by a run that ended before it measured.
        for taken in [files::RUN, files::JOURNAL, files::SAMPLES] {
            if is_there(taken) {
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
        if [files::RUN, files::JOURNAL].iter().any(|name| dir.join(name).exists()) {
            return Ok(());
        }
        let (problem, advice) = if dir.join(files::SAMPLES).exists() {
            let problem =
                format!("has {} without {}: the run ended before it could be continued", files::SAMPLES, files::RUN);
            (problem, format!("start a new run in another folder ({})", Setting::Out))
        } else {
            let advice = format!("give the folder of an earlier run, or omit {}", Setting::Resume);
            (format!("contains no run (no {})", files::RUN), advice)
        };
        Err(Error::Content { path: dir.to_path_buf(), problem, advice })
    }

    /// What a run folder holds, for [`Self::resume`]; without findings.
    ///
    /// # Errors
    /// When it contains no run, or cannot be read.
    pub fn earlier(dir: &Path) -> Result<Journalled, Error> {
        Self::check_resumed(dir)?;
        if let Some(found) = journal::replay(dir, Keep::Requests)? {
            return Ok(found);
        }
        let mut file = super::open(dir)?.file;
        file.clear_findings();
        Ok(Journalled::of(file))
    }

    /// Writes the journal of a run, with its first line.
    fn begin(dir: &Path, file: &RunFile) -> Result<(), Error> {
        let path = dir.join(files::JOURNAL);
        let line = json_lines::line(&path, &Entry::Run(Box::new(file.clone())))?;
        atomic::replace(&path, line.as_bytes(), true)
    }

    fn open(lock: FolderLock) -> Result<Self, Error> {
        let dir = lock.dir().to_path_buf();
        let outputs = dir.join(files::OUTPUTS);
        fs::create_dir_all(&outputs).map_err(Error::file(&outputs, "create"))?;
        let journal = JsonLines::open(dir.join(files::JOURNAL))?;
        let samples = JsonLines::open(dir.join(files::SAMPLES))?;
        Ok(Self { dir, journal, samples, synced: clock::now(), _lock: lock })
    }

    /// Appends the samples that the journal has and `samples.jsonl` lacks: the program ended between the two lines.
    fn complete_samples(&mut self) -> Result<(), Error> {
        let path = self.dir.join(files::SAMPLES);
        let mut there = HashSet::new();
        json_lines::read_lines(&path, |_, line| {
            there.insert(line.to_vec());
        })?;
        let mut missing = Vec::new();
        journal::for_each_sample(&self.dir, |sample| missing.push(sample.clone()))?;
        for sample in missing {
            let line = json_lines::line(&path, &sample)?;
            if !there.contains(line.trim_end_matches('\n').as_bytes()) {
                self.samples.append(&sample)?;
            }
        }
        Ok(())
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends an entry to the journal, and a request also to `samples.jsonl`: the lines are written when this returns.
    ///
    /// # Errors
    /// When a file cannot be written, such as for lack of space.
    pub fn add(&mut self, entry: &Entry) -> Result<(), Error> {
        self.journal.append(entry)?;
        if let Entry::Request { sample, .. } = entry {
            self.samples.append(sample)?;
        }
        if clock::now().saturating_sub(self.synced) >= SYNC_AFTER { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.journal.sync()?;
        self.synced = clock::now();
        Ok(())
    }

    /// Writes the output of a case: its text as `outputs/CASE.txt`, in a form that a terminal can show, and all of it as
    /// `outputs/CASE.json`. Files with this content stay as they are.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn output(&self, case: &str, output: &CaseOutput) -> Result<(), Error> {
        let name = file_name(case);
        let folder = self.dir.join(files::OUTPUTS);
        let text = (folder.join(format!("{name}.txt")), Printable::new(&output.text));
        let path = folder.join(format!("{name}.json"));
        let all = json(&path, output)?;
        for (path, text) in [text, (path, all)] {
            if fs::read(&path).ok().as_deref() != Some(redaction::without_known(text.as_str()).as_bytes()) {
                atomic::write_derived(&path, &text)?;
            }
        }
        Ok(())
    }

    /// Replaces `run.json`.
    ///
    /// # Errors
    /// When it cannot be written; the old one stays.
    pub fn write_run(&self, file: &RunFile) -> Result<(), Error> {
        let path = self.dir.join(files::RUN);
        atomic::write(&path, &json(&path, file)?)
    }

    /// Writes `run.json` and `results.csv`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(mut self, file: &RunFile) -> Result<(), Error> {
        self.add(&Entry::Fields(Box::new(file.besides_cases())))?;
        self.sync()?;
        self.samples.sync()?;
        atomic::write(&self.dir.join(files::TABLE), &table::csv(file))?;
        self.write_run(file)
    }
}

fn json(path: &Path, value: &impl Serialize) -> Result<Printable, Error> {
    Printable::json(value).map_err(|error| Error::file(path, "encode")(error.into()))
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
    use crate::{Case, Pass, PassFigures, PhaseRow, Sample, Status, SteppedFigures};

    #[test]
    fn names_of_files_are_plain_and_apart() {
        assert_eq!(file_name("candle/smollm2-135m/ai/t2/d0"), "candle_smollm2-135m_ai_t2_d0");
        let (a, b) = (file_name("mock/a b/p"), file_name("mock/a_b/p"));
        assert_ne!(a, b);
        for name in [a, b, file_name("../../x"), file_name(&"é".repeat(300))] {
            assert!(name.len() < 220 && !name.starts_with('.') && !name.contains('/'), "{name}");
        }
    }

    fn file() -> RunFile {
        let case = |id: &str| Case { id: id.to_owned(), ..Case::default() };
        let mut file = RunFile { schema_version: 1, cases: vec![case("a"), case("b")], ..RunFile::default() };
        file.clear_findings();
        file
    }

    fn request(case: &str, pass: Pass, round: usize) -> Entry {
        let sample = Sample { case: case.to_owned(), pass, round, ..Sample::absent("not measured") };
        let figures = (pass == Pass::Stepped).then(|| {
            let phases = vec![PhaseRow { time_s: 0.1.into(), ..PhaseRow::absent("not measured") }];
            Box::new(PassFigures::Stepped(SteppedFigures { phases, ..SteppedFigures::default() }))
        });
        let rows = Case { id: case.to_owned(), trace: Some(format!("trace-{round}.json")), ..Case::default() };
        Entry::Request { sample: Box::new(sample), figures, case: Some(Box::new(rows)) }
    }

    fn create(dir: &Path) -> Store {
        Store::create(FolderLock::acquire(dir).unwrap(), &file()).unwrap()
    }

    #[test]
    fn a_folder_with_a_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(files::SAMPLES), "").unwrap();
        drop(create(&dir));
        for name in [files::JOURNAL, files::RUN] {
            let text = Store::check_new(&dir).unwrap_err().with_advice();
            assert!(text.contains("already contains a run") && text.contains("`resume`"), "{text}");
            assert!(Store::check_resumed(&dir).is_ok());
            fs::remove_file(dir.join(name)).unwrap();
        }
    }

    #[test]
    fn a_folder_without_a_run_is_not_resumed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Store::earlier(folder.path()).unwrap_err().to_string().contains("contains no run"));
        fs::write(folder.path().join(files::SAMPLES), "").unwrap();
        let text = Store::earlier(folder.path()).unwrap_err().with_advice();
        assert!(text.contains("without run.json") && text.contains("start a new run"), "{text}");
    }

    #[test]
    fn what_was_measured_is_there_after_any_end() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("run");
        let mut store = create(&dir);
        store.add(&Entry::Session { case: "a".to_owned(), counter_sets: 2, counts_events: true }).unwrap();
        store.add(&request("a", Pass::Clean, 0)).unwrap();
        store.add(&request("a", Pass::Stepped, 0)).unwrap();
        store.add(&Entry::Status { case: "a".to_owned(), status: Status::Ok, error: None }).unwrap();
        store.add(&Entry::Message("hot".to_owned())).unwrap();
        store.add(&request("b", Pass::Clean, 0)).unwrap();
        drop(store);
        // The last line is incomplete, another one is damaged, and the other files were not written.
        let mut bytes = fs::read(dir.join(files::JOURNAL)).unwrap();
        bytes.truncate(bytes.len() - 9);
        let message = String::from_utf8_lossy(&bytes).find("hot").unwrap();
        bytes[message] = 0xff;
        fs::write(dir.join(files::JOURNAL), bytes).unwrap();
        fs::remove_file(dir.join(files::RUN)).unwrap();

        let found = Store::earlier(&dir).unwrap();
        let [a, b] = found.file.cases.as_slice() else { panic!("{:?}", found.file.cases) };
        assert_eq!((a.samples.len(), a.stepped.len(), a.status), (1, 1, Status::Ok));
        assert_eq!(a.trace.as_deref(), Some("trace-0.json"));
        assert!(b.samples.is_empty() && b.trace.is_none());
        assert_eq!(found.requests["a"].len(), 1);
        assert_eq!((found.sessions["a"].counter_sets, found.sessions["a"].counts_events), (2, true));
        assert!(
            found.file.messages[0].starts_with("journal.jsonl: line 6 cannot be read"),
            "{:?}",
            found.file.messages
        );
        let opened = crate::open(&dir).unwrap();
        assert_eq!(opened.file.cases, found.file.cases);
        assert!(opened.without_findings);

        fs::remove_file(dir.join(files::SAMPLES)).unwrap();
        let mut store = Store::resume(FolderLock::acquire(&dir).unwrap(), &found.file, &found.file).unwrap();
        store.add(&request("b", Pass::Clean, 0)).unwrap();
        let mut file = found.file.clone();
        file.finished = "2026-01-01T00:00:00Z".to_owned().into();
        store.finish(&file).unwrap();
        assert_eq!(fs::read_to_string(dir.join(files::SAMPLES)).unwrap().lines().count(), 3);
        assert_eq!(Store::earlier(&dir).unwrap().file.cases[1].samples.len(), 1);
        assert!(!crate::open(&dir).unwrap().without_findings, "run.json is complete");
    }

    #[test]
    fn a_folder_of_an_earlier_version_gets_a_journal() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let mut file = file();
        file.cases[0].samples.push(Sample { case: "a".to_owned(), ..Sample::absent("not measured") });
        fs::write(dir.join(files::RUN), serde_json::to_vec(&file).unwrap()).unwrap();
        let found = Store::earlier(dir).unwrap();
        assert_eq!(found.file.cases, file.cases);
        drop(Store::resume(FolderLock::acquire(dir).unwrap(), &found.file, &found.file).unwrap());
        assert_eq!(Store::earlier(dir).unwrap().file.cases, file.cases);
    }

    #[test]
    fn outputs_are_kept_under_the_cases_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = create(&folder.path().join("run"));
        store
            .output("mock/tiny/p/t1/d0", &CaseOutput { text: "hello".to_owned(), ..CaseOutput::absent("unused") })
            .unwrap();
        assert_eq!(fs::read_to_string(store.dir().join("outputs/mock_tiny_p_t1_d0.txt")).unwrap(), "hello");
        assert!(store.dir().join("outputs/mock_tiny_p_t1_d0.json").exists());
    }
}
