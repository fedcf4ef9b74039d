//! A wall clock time as Java's `Date` prints it. Pure.
//!
//! COMPAT: Java takes the machine's zone; here it is always UTC, which is what containers have.

use crate::types::Millis;

const MS_PER_DAY: Millis = 86_400_000;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Mon Nov 23 13:36:46 UTC 2026` of ms since 1970.
pub(super) fn java_date(wall_ms: Millis) -> String {
    let day = wall_ms.div_euclid(MS_PER_DAY);
    let second = wall_ms.rem_euclid(MS_PER_DAY) / 1_000;
    let weekday = usize::try_from(day.rem_euclid(7)).expect("0 to 6");
    let (year, month, day_of_month) = civil(day);
    format!(
        "{} {} {day_of_month:02} {:02}:{:02}:{:02} UTC {year}",
        WEEKDAYS[weekday],
        MONTHS[month],
        second / 3_600,
        second / 60 % 60,
        second % 60,
    )
}

/// Year, month from 0 and day from 1 of a day since 1970.
fn civil(day: i64) -> (i64, usize, i64) {
    // Years that begin in March have the leap day at their end; 400 of them have 146 097 days.
    let day = day + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // Five months have 153 days, whichever five months from March on.
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let january_on = i64::from(month >= 10);
    let month = usize::try_from((month + 2) % 12).expect("0 to 11");
    (era * 400 + year + january_on, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_javas() {
        assert_eq!(java_date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(-1), "Wed Dec 31 23:59:59 UTC 1969");
        assert_eq!(java_date(951_782_399_999), "Mon Feb 28 23:59:59 UTC 2000");
        assert_eq!(java_date(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(java_date(1_795_592_402_000), "Wed Nov 25 07:40:02 UTC 2026");
        assert_eq!(java_date(4_107_542_400_000), "Mon Mar 01 00:00:00 UTC 2100");
    }

    #[test]
    fn every_day_of_400_years_follows_the_one_before() {
        const DAYS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (mut year, mut month, mut day) = (1970, 0, 1);
        for since in 0..146_097 {
            assert_eq!(civil(since), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            day += 1;
            if day > DAYS[month] + i64::from(leap && month == 1) {
                (day, month) = (1, month + 1);
            }
            if month == 12 {
                (month, year) = (0, year + 1);
            }
        }
    }
}
