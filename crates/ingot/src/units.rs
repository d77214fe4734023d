//! Numbers as people read them.

use std::time::Duration;

/// Bytes in decimal units, three digits: `7.95 MB`.
pub fn bytes(n: u64) -> String {
    match n {
        0..1000 => format!("{n} B"),
        _ => scaled(n as f64, &[" kB", " MB", " GB", " TB", " PB", " EB"]),
    }
}

/// A count: `7.44 M`.
pub fn count(n: u64) -> String {
    match n {
        0..1000 => n.to_string(),
        _ => scaled(n as f64, &[" k", " M", " B", " T", " Q"]),
    }
}

/// Three digits and a unit a thousand times the one before.
fn scaled(n: f64, units: &[&str]) -> String {
    let mut scaled = n / 1e3;
    let mut unit = 0;
    // 999.5 and more would be shown as 1000.
    while scaled >= 999.5 && unit + 1 < units.len() {
        scaled /= 1e3;
        unit += 1;
    }
    let digits = match scaled {
        x if x < 9.995 => 2,
        x if x < 99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.digits$}{}", units[unit])
}

/// A time: `0.8 ms`, `1.25 s`, `3 min 20 s`.
pub fn time(t: Duration) -> String {
    match t.as_secs_f64() {
        s if s < 0.0995 => format!("{:.1} ms", s * 1e3),
        s if s < 99.95 => format!("{s:.2} s"),
        s => format!("{} min {} s", s.round() as u64 / 60, s.round() as u64 % 60),
    }
}

/// How many in a second; 0 if no time has passed.
pub fn rate(n: usize, t: Duration) -> f64 {
    if t.is_zero() { 0.0 } else { n as f64 / t.as_secs_f64() }
}

/// A percentage of the same width for every value.
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:5.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// The day of a time in seconds since 1970: `2026-11-22`.
pub fn date(seconds: u64) -> String {
    // Days since 1 March of the year 0, in the calendar's cycles of 400 years.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + u64::from(month <= 2))
}

/// `1 token`, `2 tokens`.
pub fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The beginning of a word that may be long.
pub fn shortened(word: &str) -> String {
    const SHOWN: usize = 24;
    let mut short: String = word.chars().take(SHOWN).collect();
    if short.len() < word.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        let shown = [0, 999, 1000, 9_994, 9_996, 99_949, 99_951, 999_499, 999_500, 7_950_976];
        let expected = [
            "0 B", "999 B", "1.00 kB", "9.99 kB", "10.0 kB", "99.9 kB", "100 kB", "999 kB", "1.00 MB",
            "7.95 MB",
        ];
        assert_eq!(shown.map(bytes), expected);
        assert_eq!(bytes(u64::MAX), "18.4 EB");
        assert_eq!(count(7_440_000), "7.44 M");
    }

    #[test]
    fn dates() {
        // As `date -u -d @SECONDS +%F` has them.
        let known = [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_795_305_600, "2026-11-22")];
        known.into_iter().for_each(|(seconds, day)| assert_eq!(date(seconds), day));
        assert_eq!((date(951_868_799), date(4_107_542_400)), ("2000-02-29".into(), "2100-03-01".into()));
    }

    #[test]
    fn times_and_rates() {
        assert_eq!(time(Duration::from_micros(1234)), "1.2 ms");
        assert_eq!(time(Duration::from_millis(1250)), "1.25 s");
        assert_eq!(time(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(rate(5, Duration::ZERO), 0.0);
        assert_eq!(rate(5, Duration::from_millis(500)), 10.0);
        assert_eq!(percent(1, 3), " 33.3 %");
        assert_eq!([1, 2].map(|n| plural(n, "token")), ["1 token", "2 tokens"]);
    }
}
