//! The date that templates render, and Python's `strftime` for it.

use std::fmt;

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// The default date: 26 July 2024, which Llama 3's templates use if there is no clock.
pub const DEFAULT_DATE: Date = Date { year: 2024, month: 7, day: 26 };

/// A code of `strftime` that is not supported, such as `%Q`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnsupportedCode(pub(super) String);

const MONTHS: [(&str, u8); 12] = [
    ("January", 31),
    ("February", 28),
    ("March", 31),
    ("April", 30),
    ("May", 31),
    ("June", 30),
    ("July", 31),
    ("August", 31),
    ("September", 30),
    ("October", 31),
    ("November", 30),
    ("December", 31),
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Date {
    /// A date between the years 1583 and 9999; `None` if it does not exist.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let (_, days) = MONTHS.get(usize::from(month).checked_sub(1)?)?;
        let days = days + u8::from(month == 2 && is_leap(year));
        ((1583..=9999).contains(&year) && (1..=days).contains(&day)).then_some(Self { year, month, day })
    }

    /// The day of the year; the first of January is 1.
    fn day_of_year(self) -> u16 {
        let before = MONTHS.iter().take(usize::from(self.month) - 1).map(|(_, days)| u16::from(*days)).sum::<u16>();
        before + u16::from(self.day) + u16::from(self.month > 2 && is_leap(self.year))
    }

    /// 0 is Sunday: days since 31 December of the year 0 of the proleptic calendar, a Sunday, modulo 7.
    fn weekday(self) -> usize {
        let past = u32::from(self.year) - 1;
        let days = past * 365 + past / 4 - past / 100 + past / 400 + u32::from(self.day_of_year());
        (days % 7) as usize
    }

    /// Python's `strftime` at midnight of the day, in the locale C.
    pub(super) fn format(self, format: &str) -> Result<String, UnsupportedCode> {
        let (month, weekday) = (MONTHS[usize::from(self.month) - 1].0, self.weekday());
        let mut text = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                text.push(character);
                continue;
            }
            let mut code = characters.next();
            // `%-d`: no padding.
            let padded = code != Some('-');
            if !padded {
                code = characters.next();
            }
            let number = |value: u16, width: usize| {
                if padded { format!("{value:0width$}") } else { value.to_string() }
            };
            // The weeks of a year begin on its first Sunday or Monday.
            let week = |days_into: usize| (self.day_of_year() + 6 - u16::try_from(days_into).unwrap_or(0)) / 7;
            text.push_str(&match code {
                Some('Y') => number(self.year, 4),
                Some('C') => number(self.year / 100, 2),
                Some('y') => number(self.year % 100, 2),
                Some('m') => number(self.month.into(), 2),
                Some('d') => number(self.day.into(), 2),
                Some('e') => {
                    if padded {
                        format!("{:2}", self.day)
                    } else {
                        self.day.to_string()
                    }
                }
                Some('j') => number(self.day_of_year(), 3),
                Some('u') => if weekday == 0 { 7 } else { weekday }.to_string(),
                Some('w') => weekday.to_string(),
                Some('U') => number(week(weekday), 2),
                Some('W') => number(week((weekday + 6) % 7), 2),
                Some('H' | 'M' | 'S') => number(0, 2),
                Some('I' | 'l') => number(12, 2),
                Some('k') => " 0".to_owned(),
                Some('f') => "000000".to_owned(),
                Some('p') => "AM".to_owned(),
                Some('P') => "am".to_owned(),
                Some('B') => month.to_owned(),
                Some('b' | 'h') => month[..3].to_owned(),
                Some('A') => WEEKDAYS[weekday].to_owned(),
                Some('a') => WEEKDAYS[weekday][..3].to_owned(),
                Some('F') => self.to_string(),
                Some('D' | 'x') => self.format("%m/%d/%y")?,
                Some('T' | 'X') => "00:00:00".to_owned(),
                Some('R') => "00:00".to_owned(),
                Some('r') => "12:00:00 AM".to_owned(),
                Some('c') => self.format("%a %b %e %H:%M:%S %Y")?,
                // A time without a time zone.
                Some('z' | 'Z') => String::new(),
                Some('n') => "\n".to_owned(),
                Some('t') => "\t".to_owned(),
                Some('%') => "%".to_owned(),
                other => {
                    return Err(UnsupportedCode(other.map_or_else(|| "%".to_owned(), |code| format!("%{code}"))));
                }
            });
        }
        Ok(text)
    }
}

/// ISO 8601: `2024-07-26`.
impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_formatted_as_in_python() {
        assert_eq!(DEFAULT_DATE.format("%d %b %Y").unwrap(), "26 Jul 2024");
        assert_eq!(
            DEFAULT_DATE.format("%A, %B %-d, %y %j %F %H:%M 100%%").unwrap(),
            "Friday, July 26, 24 208 2024-07-26 00:00 100%"
        );
        assert_eq!(Date::new(2000, 3, 5).unwrap().format("%a %e %-m %j").unwrap(), "Sun  5 3 065");
        assert_eq!(Date::new(2026, 1, 1).unwrap().format("%a").unwrap(), "Thu");
        assert!(DEFAULT_DATE.format("%Q").is_err() && DEFAULT_DATE.format("%").is_err());
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for (year, month, day) in
            [(2023, 2, 29), (2024, 0, 1), (2024, 13, 1), (2024, 4, 31), (2024, 1, 0), (1500, 1, 1)]
        {
            assert_eq!(Date::new(year, month, day), None);
        }
        assert!(Date::new(2024, 2, 29).is_some() && Date::new(1900, 2, 29).is_none());
    }
}
