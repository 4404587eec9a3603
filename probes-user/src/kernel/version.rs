//! The true patch level. It explains a result to the reader; no decision rests on it.

/// From `uname -v` where Debian writes it (`#1 SMP Debian 5.10.223-1 (2024-08-10)`), else the numbers that
/// `uname -r` begins with. The whole release if it begins with none.
pub fn patch_level<'a>(release: &'a str, version: &'a str) -> &'a str {
    let debian = version
        .split_once("Debian ")
        .map(|(_, after)| numbers(after));
    match debian {
        Some(numbers) if !numbers.is_empty() => numbers,
        _ if numbers(release).is_empty() => release,
        _ => numbers(release),
    }
}

/// The leading digits and dots, without a dot at the end.
fn numbers(text: &str) -> &str {
    let len = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    text[..len].trim_end_matches('.')
}

/// (major, minor) for the few texts that mention when something changed.
pub(super) fn major_minor(patch_level: &str) -> Option<(u32, u32)> {
    let mut parts = patch_level.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::{major_minor, patch_level};

    #[test]
    fn the_true_version_is_found_on_every_kernel_of_the_matrix() {
        for (release, version, wanted) in [
            (
                "5.10.0-32-cloud-amd64",
                "#1 SMP Debian 5.10.223-1 (2024-08-10)",
                "5.10.223",
            ),
            (
                "6.1.0-56-cloud-amd64",
                "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)",
                "6.1.192",
            ),
            (
                "6.12.107+deb13-cloud-amd64",
                "#1 SMP PREEMPT_DYNAMIC Debian 6.12.107-1 (2026-08-29)",
                "6.12.107",
            ),
            (
                "7.2.13+deb14-cloud-amd64",
                "#1 SMP PREEMPT_DYNAMIC Debian 7.2.13-1 (2026-10-28)",
                "7.2.13",
            ),
            ("6.18.44-fc-v669", "#1 SMP PREEMPT_DYNAMIC @0", "6.18.44"),
            ("6.9-rc3", "#2 SMP Debian", "6.9"),
            ("custom", "", "custom"),
        ] {
            assert_eq!(patch_level(release, version), wanted);
        }
        assert_eq!(major_minor("5.10.223"), Some((5, 10)));
        assert_eq!(major_minor("6.9"), Some((6, 9)));
        assert_eq!(major_minor("custom"), None);
    }
}
