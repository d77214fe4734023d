//! The functions a template can call.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::budget::Budget;
use super::eval::CallArgs;
use super::value::Value;

pub(super) fn call(name: &str, args: &CallArgs, budget: &mut Budget) -> Result<Value, String> {
    match name {
        "range" => range(args, budget),
        "namespace" | "dict" => {
            let mut fields = args.named.clone();
            if let Some(Value::Map(map)) = args.positional.first() {
                budget.entries(map.entries.len())?;
                fields.splice(0..0, map.entries.iter().cloned());
            }
            budget.entries(fields.len())?;
            // A map also checks that its values may be stored.
            let map = Value::map(fields.clone())?;
            Ok(if name == "dict" { map } else { Value::Namespace(Rc::new(RefCell::new(fields))) })
        }
        // How a template refuses a conversation that it cannot express.
        "raise_exception" => Err(args.require(0, "message")?.to_text(budget)?.to_string()),
        "strftime_now" => {
            let format = args.require(0, "format")?.as_str()?;
            budget.bytes(format.len().saturating_mul(10))?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
            Ok(Value::text(strftime(format, now)?))
        }
        other => Err(format!("function '{other}' does not exist")),
    }
}

fn range(args: &CallArgs, budget: &mut Budget) -> Result<Value, String> {
    let numbers = args.positional.iter().map(Value::as_int).collect::<Result<Vec<_>, _>>()?;
    let (start, stop, step) = match numbers[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => return Err("range takes one to three arguments".into()),
    };
    if step == 0 {
        return Err("range cannot have step 0".into());
    }
    let distance =
        if step > 0 { i128::from(stop) - i128::from(start) } else { i128::from(start) - i128::from(stop) };
    let count = (distance.max(0) + i128::from(step.unsigned_abs()) - 1) / i128::from(step.unsigned_abs());
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    budget.entries(count)?;
    Value::list((0..count as i64).map(|i| Value::Int(start + i * step)).collect())
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The UTC time `seconds` after 1970 in the given format.
fn strftime(format: &str, seconds: u64) -> Result<String, String> {
    let days = seconds / 86_400;
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let month_name = MONTHS[month as usize - 1];
    let weekday = WEEKDAYS[(days % 7) as usize];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = chars.next();
        // `%-d` is `%d` without the leading zero.
        let (directive, padded) =
            if directive == Some('-') { (chars.next(), false) } else { (directive, true) };
        let two = |n: u64| if padded { format!("{n:02}") } else { n.to_string() };
        out.push_str(&match directive {
            Some('Y') => year.to_string(),
            Some('y') => two(year % 100),
            Some('m') => two(month),
            Some('d') => two(day),
            Some('e') => format!("{day:2}"),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => month_name[..3].to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('H') => two(hour),
            Some('I') => two((hour + 11) % 12 + 1),
            Some('M') => two(minute),
            Some('S') => two(second),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            other => return Err(format!("strftime_now does not know %{}", other.unwrap_or(' '))),
        });
    }
    Ok(out)
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Counted in years that begin in March, so that leap days come last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn dates() {
        assert_eq!(strftime("%Y-%m-%d %H:%M:%S %A %b", 0).unwrap(), "1970-01-01 00:00:00 Thursday Jan");
        assert_eq!(strftime("%d %B %Y", 951_782_400).unwrap(), "29 February 2000");
        assert_eq!(strftime("%-d %b %y, %I %p", 1_735_693_199).unwrap(), "1 Jan 25, 12 AM");
        assert!(strftime("%Q", 0).is_err());
    }
}
