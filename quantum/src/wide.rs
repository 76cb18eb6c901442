//! Loops compiled once per vector width and chosen at run time.
//!
//! Every version is the same Rust; only the width of the vectors differs. Nothing is contracted into fused
//! multiply-adds, so all versions give the same bits (`tests` below and in [`crate::simulator::walsh`]).

/// Defines a function whose body is also compiled for AVX2 and AVX-512 and picked by what the machine has.
///
/// Measured on two cores with AVX-512: 2.5 to 4 times the plain version (SSE2), see the crate's bench.
macro_rules! wide {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block)*) => {$(
        $(#[$meta])*
        // The call into a version with target features is unsafe only because the machine might lack them,
        // which the line before has just asked.
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn plain($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
                fn with_avx512($($arg: $ty),*) $(-> $ret)? {
                    plain($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn with_avx2($($arg: $ty),*) $(-> $ret)? {
                    plain($($arg),*)
                }
                let level = crate::wide::level();
                if level >= 2 {
                    // SAFETY: `level` is 2 only where the four features were found.
                    return unsafe { with_avx512($($arg),*) };
                }
                if level == 1 {
                    // SAFETY: `level` is 1 only where AVX2 was found.
                    return unsafe { with_avx2($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    )*};
}
pub(crate) use wide;

/// 2 with AVX-512, 1 with AVX2, 0 with neither; tests may lower it for their thread.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn level() -> u8 {
    #[cfg(test)]
    {
        let most = tests::MOST.with(std::cell::Cell::get);
        if most < 2 {
            return most.min(found());
        }
    }
    found()
}

#[cfg(target_arch = "x86_64")]
fn found() -> u8 {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
    {
        2
    } else {
        u8::from(is_x86_feature_detected!("avx2"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    std::thread_local! {
        pub(crate) static MOST: std::cell::Cell<u8> = const { std::cell::Cell::new(2) };
    }

    /// What `work` gives with each width of vectors that this machine has.
    pub(crate) fn at_every_width<R>(work: impl Fn() -> R) -> Vec<R> {
        let all = (0..=2)
            .map(|most| {
                MOST.with(|m| m.set(most));
                work()
            })
            .collect();
        MOST.with(|m| m.set(2));
        all
    }
}
