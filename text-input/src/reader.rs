//! [`Reader`]: the UTF-8 text of a source of bytes, as a stream.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// The first bytes of gzip data.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The marks at the beginning of a text.
const UTF8_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
const UTF16_LITTLE_MARK: [u8; 2] = [0xff, 0xfe];
const UTF16_BIG_MARK: [u8; 2] = [0xfe, 0xff];
/// Layers of compression that are removed: a server that compresses what is compressed already gives two.
const MOST_LAYERS: usize = 3;
const CHUNK_BYTES: usize = 64 << 10;

/// UTF-8 text without a byte order mark. Bytes of a source that is already UTF-8 are passed on unchecked.
pub struct Reader<'s> {
    source: Box<dyn Read + 's>,
    order: Option<Utf16>,
    /// Text that was converted and is not taken yet.
    ready: Vec<u8>,
    at: usize,
}

/// The state of a conversion from UTF-16.
struct Utf16 {
    little: bool,
    /// A byte without its second half, and a unit without its second half.
    odd: Option<u8>,
    high: Option<u16>,
    ended: bool,
}

impl<'s> Reader<'s> {
    /// Recognises the form of a source by its first bytes.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn new(source: impl Read + 's) -> io::Result<Self> {
        let mut source: Box<dyn Read + 's> = Box::new(source);
        let mut head = beginning(&mut source)?;
        for _ in 0..MOST_LAYERS {
            if !head.starts_with(&GZIP) {
                break;
            }
            source = Box::new(MultiGzDecoder::new(BufReader::with_capacity(
                CHUNK_BYTES,
                io::Cursor::new(head).chain(source),
            )));
            head = beginning(&mut source)?;
        }
        let order = order(&head);
        let mark = match &order {
            Some(_) if head.starts_with(&UTF16_LITTLE_MARK) || head.starts_with(&UTF16_BIG_MARK) => 2,
            None if head.starts_with(&UTF8_MARK) => UTF8_MARK.len(),
            _ => 0,
        };
        head.drain(..mark);
        Ok(Self { source: Box::new(io::Cursor::new(head).chain(source)), order, ready: Vec::new(), at: 0 })
    }
}

/// The first bytes of a source, at most four.
fn beginning(source: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    source.take(4).read_to_end(&mut head)?;
    Ok(head)
}

/// The order of bytes of a text in UTF-16: by its mark, else by the zeros in its first two characters, which are ASCII in every
/// format that this program reads.
fn order(head: &[u8]) -> Option<Utf16> {
    let little = match head {
        [0xff, 0xfe, ..] => true,
        [0xfe, 0xff, ..] => false,
        &[a, 0, b, 0] if a != 0 && b != 0 => true,
        &[0, a, 0, b] if a != 0 && b != 0 => false,
        _ => return None,
    };
    Some(Utf16 { little, odd: None, high: None, ended: false })
}

impl Utf16 {
    /// Appends the text of some bytes. A unit that has no partner becomes U+FFFD.
    fn convert(&mut self, bytes: &[u8], into: &mut Vec<u8>) {
        let mut push = |character: char| into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        for &byte in bytes {
            let Some(first) = self.odd.take() else {
                self.odd = Some(byte);
                continue;
            };
            let unit = if self.little { u16::from_le_bytes([first, byte]) } else { u16::from_be_bytes([first, byte]) };
            let units = self.high.take().into_iter().chain([unit]);
            for decoded in char::decode_utf16(units) {
                match decoded {
                    Ok(character) => push(character),
                    Err(error)
                        if (0xd800..0xdc00).contains(&error.unpaired_surrogate())
                            && error.unpaired_surrogate() == unit =>
                    {
                        self.high = Some(unit);
                    }
                    Err(_) => push(char::REPLACEMENT_CHARACTER),
                }
            }
        }
    }

    /// Appends what is left at the end of the source.
    fn finish(&mut self, into: &mut Vec<u8>) {
        let halves = usize::from(self.odd.take().is_some()) + usize::from(self.high.take().is_some());
        for _ in 0..halves {
            into.extend_from_slice(char::REPLACEMENT_CHARACTER.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self.ended = true;
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(order) = &mut self.order else { return self.source.read(into) };
        while self.at == self.ready.len() && !order.ended {
            self.ready.clear();
            self.at = 0;
            let mut chunk = [0; 8 << 10];
            match self.source.read(&mut chunk)? {
                0 => order.finish(&mut self.ready),
                count => order.convert(&chunk[..count], &mut self.ready),
            }
        }
        let count = into.len().min(self.ready.len() - self.at);
        into[..count].copy_from_slice(&self.ready[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").field("utf16", &self.order.is_some()).finish_non_exhaustive()
    }
}
