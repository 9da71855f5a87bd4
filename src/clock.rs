//! The wall clock: what is written down of when things happened.
//!
//! The only home of jiff. Knows nothing of how long anything takes: that is tokio's clock, which tests
//! can move.

use std::ops::Range;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

pub use jiff::civil::Date;

/// Now, RFC 3339: local time with its offset.
pub fn now() -> String {
    ZonedDateTime::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// Now, in milliseconds since 1970, UTC.
pub fn millis() -> i64 {
    Timestamp::now().as_millisecond()
}

/// The local date.
pub fn today() -> Date {
    ZonedDateTime::now().date()
}

/// Milliseconds since 1970, from RFC 3339.
pub fn parse_millis(text: &str) -> Option<i64> {
    text.parse().ok().map(Timestamp::as_millisecond)
}

/// Milliseconds since 1970 as `2026-11-24 04:06:12`, UTC; `None` beyond the year 9999.
pub fn utc(milliseconds: i64) -> Option<String> {
    let time = Timestamp::from_millisecond(milliseconds).ok()?;
    Some(time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// Shows moments as RFC 3339 in the local offset. Rows end by the thousand in one second, so only the
/// milliseconds of its text are written anew.
pub struct Moments {
    zone: TimeZone,
    /// Seconds since 1970 that `text` shows.
    second: i64,
    text: String,
}

/// Where the milliseconds stand in `2026-11-24T02:11:09.123+08:00`.
const MILLISECONDS: Range<usize> = 20..23;

impl Moments {
    /// In the offset of this machine.
    pub fn local() -> Self {
        Self::new(TimeZone::system())
    }

    fn new(zone: TimeZone) -> Self {
        Self { zone, second: i64::MIN, text: String::new() }
    }

    /// Of milliseconds since 1970; empty for 0, which rows without an end have.
    pub fn show(&mut self, milliseconds: i64) -> &str {
        if milliseconds == 0 {
            return "";
        }
        let (second, rest) = (milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000));
        if second != self.second {
            let Ok(time) = Timestamp::from_second(second) else {
                return "";
            };
            let time = time.to_zoned_datetime(self.zone.clone());
            self.text = time.strftime("%Y-%m-%dT%H:%M:%S.000%:z").to_string();
            self.second = second;
        }
        let digits = [rest / 100, rest / 10 % 10, rest % 10].map(|digit| b'0' + digit as u8);
        let digits = std::str::from_utf8(&digits).expect("digits are ASCII");
        self.text.replace_range(MILLISECONDS, digits);
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_utc_whatever_its_offset() {
        let millis = parse_millis("2026-10-25T02:59:59.999+02:00").unwrap();
        assert_eq!(utc(millis).unwrap(), "2026-10-25 00:59:59");
        assert_eq!(utc(i64::MAX), None);
    }

    #[test]
    fn moments_are_shown_to_the_millisecond_in_the_offset_of_their_second() {
        // Summer time ends at 2026-10-25 01:00:00 UTC.
        let mut moments = Moments::new(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        for (milliseconds, shown) in [
            (0, ""),
            (1_792_889_999_999, "2026-10-25T02:59:59.999+02:00"),
            (1_792_890_000_000, "2026-10-25T02:00:00.000+01:00"),
            (1_792_890_000_042, "2026-10-25T02:00:00.042+01:00"),
            (1_792_889_999_007, "2026-10-25T02:59:59.007+02:00"),
            (-1, "1970-01-01T00:59:59.999+01:00"),
            (i64::MAX, ""),
        ] {
            assert_eq!(moments.show(milliseconds), shown, "{milliseconds}");
        }
    }
}
