//! The power source, by the public calls of IOKit.

#![allow(unsafe_code, reason = "IOKit and Core Foundation are C libraries")]

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::ptr::NonNull;

use super::system::{Refusal, put};

type Object = *const c_void;

/// `kCFStringEncodingUTF8`, `kCFNumberSInt32Type`.
const UTF8: u32 = 0x0800_0100;
const INT32: c_long = 3;

#[link(name = "IOKit", kind = "framework")]
unsafe extern "C" {
    fn IOPSCopyPowerSourcesInfo() -> Object;
    fn IOPSCopyPowerSourcesList(info: Object) -> Object;
    fn IOPSGetProvidingPowerSourceType(info: Object) -> Object;
    fn IOPSGetPowerSourceDescription(info: Object, source: Object) -> Object;
}

#[link(name = "CoreFoundation", kind = "framework")]
unsafe extern "C" {
    fn CFRelease(object: Object);
    fn CFArrayGetCount(array: Object) -> c_long;
    fn CFArrayGetValueAtIndex(array: Object, index: c_long) -> Object;
    fn CFDictionaryGetValue(dictionary: Object, key: Object) -> Object;
    fn CFNumberGetValue(number: Object, kind: c_long, value: *mut c_void) -> u8;
    fn CFStringCreateWithCString(allocator: Object, text: *const c_char, encoding: u32) -> Object;
    fn CFStringGetCString(text: Object, buffer: *mut c_char, size: c_long, encoding: u32) -> u8;
}

/// An object that this code owns.
struct Owned(NonNull<c_void>);

impl Owned {
    fn new(object: Object) -> Result<Self, Refusal> {
        NonNull::new(object.cast_mut()).map(Self).ok_or(Refusal::Absent)
    }

    fn get(&self) -> Object {
        self.0.as_ptr()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made from the result of a Copy or Create function, released once.
        unsafe { CFRelease(self.get()) };
    }
}

fn info() -> Result<Owned, Refusal> {
    // SAFETY: it takes no arguments; the caller owns the result.
    Owned::new(unsafe { IOPSCopyPowerSourcesInfo() })
}

/// `AC Power`, `Battery Power`, `UPS Power`.
pub(super) fn source(answer: &mut [u8]) -> Result<usize, Refusal> {
    let info = info()?;
    // SAFETY: `info` is what the call expects; the text belongs to the library.
    let text = unsafe { IOPSGetProvidingPowerSourceType(info.get()) };
    if text.is_null() {
        return Err(Refusal::Absent);
    }
    let mut buffer = [0_u8; 64];
    // SAFETY: `text` is a string of Core Foundation and the size is that of the buffer.
    let done = unsafe { CFStringGetCString(text, buffer.as_mut_ptr().cast(), buffer.len() as c_long, UTF8) };
    let text = CStr::from_bytes_until_nul(&buffer).map_err(|_| Refusal::Absent)?;
    if done == 0 { Err(Refusal::Absent) } else { put(answer, text.to_bytes()) }
}

/// Present and full capacity of the first source that has both; a Mac without a battery has none.
pub(super) fn battery(answer: &mut [u8]) -> Result<usize, Refusal> {
    let info = info()?;
    // SAFETY: `info` is what the call expects; the caller owns the list.
    let list = Owned::new(unsafe { IOPSCopyPowerSourcesList(info.get()) })?;
    // SAFETY: the list is an array of Core Foundation.
    let count = unsafe { CFArrayGetCount(list.get()) };
    for index in 0..count {
        // SAFETY: the index is below the count; the source belongs to the list.
        let source = unsafe { CFArrayGetValueAtIndex(list.get(), index) };
        // SAFETY: both come from the library; the description belongs to `info`.
        let description = unsafe { IOPSGetPowerSourceDescription(info.get(), source) };
        if description.is_null() {
            continue;
        }
        // Keys of IOKit/ps/IOPSKeys.h.
        let numbers = (number(description, c"Current Capacity"), number(description, c"Max Capacity"));
        if let (Some(now), Some(full)) = numbers {
            return put(answer, &[now, full].map(c_int::to_ne_bytes).concat());
        }
    }
    Err(Refusal::Absent)
}

fn number(dictionary: Object, key: &CStr) -> Option<c_int> {
    // SAFETY: the text ends in a zero; the default allocator is the null one; the caller owns the result.
    let key = Owned::new(unsafe { CFStringCreateWithCString(std::ptr::null(), key.as_ptr(), UTF8) }).ok()?;
    // SAFETY: a dictionary and a key of Core Foundation; the value belongs to the dictionary.
    let number = unsafe { CFDictionaryGetValue(dictionary, key.get()) };
    if number.is_null() {
        return None;
    }
    let mut value: c_int = 0;
    // SAFETY: IOPSKeys.h says that these values are numbers; the buffer has the size of that type.
    let exact = unsafe { CFNumberGetValue(number, INT32, (&raw mut value).cast()) };
    (exact != 0).then_some(value)
}
