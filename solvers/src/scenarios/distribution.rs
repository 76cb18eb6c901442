//! Distributions by their quantile functions, and the normal distribution's two directions.
//!
//! Quantiles are asked for probabilities strictly between 0 and 1; every answer is finite.

/// One variable's distribution, its parameters checked by the reader.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Distribution {
    Uniform {
        min: f64,
        max: f64,
    },
    /// Whole numbers from `min` to `max`, both included, equally likely.
    UniformInteger {
        min: i64,
        max: i64,
    },
    /// Conditioned on the range.
    Normal {
        mean: f64,
        sd: f64,
        min: Option<f64>,
        max: Option<f64>,
    },
    Triangular {
        min: f64,
        mode: f64,
        max: f64,
    },
    /// `mean` and `sd` of the logarithm.
    Lognormal {
        mean: f64,
        sd: f64,
    },
}

impl Distribution {
    /// The figure below which a share `u` of the distribution lies, `0 < u < 1`.
    pub fn quantile(&self, u: f64) -> f64 {
        match *self {
            Distribution::Uniform { min, max } => (min + u * (max - min)).clamp(min, max),
            Distribution::UniformInteger { min, max } => {
                let span = (max - min + 1) as f64;
                (min + (u * span) as i64).min(max) as f64
            }
            Distribution::Normal { mean, sd, min, max } => {
                let from = min.map_or(0.0, |m| normal_cdf((m - mean) / sd));
                let to = max.map_or(1.0, |m| normal_cdf((m - mean) / sd));
                let share = (from + u * (to - from)).clamp(f64::MIN_POSITIVE, 1.0 - 1e-16);
                (mean + sd * normal_quantile(share)).max(min.unwrap_or(f64::MIN)).min(max.unwrap_or(f64::MAX))
            }
            Distribution::Triangular { min, mode, max } => {
                let rising = (mode - min) / (max - min);
                if u < rising {
                    min + libm::sqrt(u * (max - min) * (mode - min))
                } else {
                    max - libm::sqrt((1.0 - u) * (max - min) * (max - mode))
                }
            }
            Distribution::Lognormal { mean, sd } => libm::exp(mean + sd * normal_quantile(u)),
        }
    }
}

/// Standard normal distribution function.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// Inverse of [`normal_cdf`] for `0 < p < 1`, relative error about 1e-16.
///
/// Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37, 1988.
#[allow(clippy::excessive_precision)]
pub(crate) fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * polynomial(
            r,
            &[
                3.3871328727963666080e0,
                1.3314166789178437745e2,
                1.9715909503065514427e3,
                1.3731693765509461125e4,
                4.5921953931549871457e4,
                6.7265770927008700853e4,
                3.3430575583588128105e4,
                2.5090809287301226727e3,
            ],
        ) / polynomial(
            r,
            &[
                1.0,
                4.2313330701600911252e1,
                6.8718700749205790830e2,
                5.3941960214247511077e3,
                2.1213794301586595867e4,
                3.9307895800092710610e4,
                2.8729085735721942674e4,
                5.2264952788528545610e3,
            ],
        );
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = libm::sqrt(-libm::log(tail));
    let z = if r <= 5.0 {
        let r = r - 1.6;
        polynomial(
            r,
            &[
                1.42343711074968357734e0,
                4.63033784615654529590e0,
                5.76949722146069140550e0,
                3.64784832476320460504e0,
                1.27045825245236838258e0,
                2.41780725177450611770e-1,
                2.27238449892691845833e-2,
                7.74545014278341407640e-4,
            ],
        ) / polynomial(
            r,
            &[
                1.0,
                2.05319162663775882187e0,
                1.67638483018380384940e0,
                6.89767334985100004550e-1,
                1.48103976427480074590e-1,
                1.51986665636164571966e-2,
                5.47593808499534494600e-4,
                1.05075007164441684324e-9,
            ],
        )
    } else {
        let r = r - 5.0;
        polynomial(
            r,
            &[
                6.65790464350110377720e0,
                5.46378491116411436990e0,
                1.78482653991729133580e0,
                2.96560571828504891230e-1,
                2.65321895265761230930e-2,
                1.24266094738807843860e-3,
                2.71155556874348757815e-5,
                2.01033439929228813265e-7,
            ],
        ) / polynomial(
            r,
            &[
                1.0,
                5.99832206555887937690e-1,
                1.36929880922735805310e-1,
                1.48753612908506148525e-2,
                7.86869131145613259100e-4,
                1.84631831751005468180e-5,
                1.42151175831644588870e-7,
                2.04426310338993978564e-15,
            ],
        )
    };
    if q < 0.0 { -z } else { z }
}

fn polynomial(x: f64, ascending: &[f64]) -> f64 {
    ascending.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_quantile_inverts_the_distribution_function() {
        for i in 1..2000 {
            let p = f64::from(i) / 2000.0;
            assert!((normal_cdf(normal_quantile(p)) - p).abs() < 1e-14, "{p}");
        }
        for exponent in 5..250 {
            let p = 10f64.powi(-exponent);
            let back = normal_cdf(normal_quantile(p));
            assert!((back / p - 1.0).abs() < 1e-11, "{p}: {back}");
        }
    }

    #[test]
    fn normal_quantile_gives_the_tabled_values() {
        // Wichura's own check values.
        assert!((normal_quantile(0.25) + 0.6744897501960817).abs() < 1e-15);
        assert!((normal_quantile(0.001) + 3.090232306167814).abs() < 1e-14);
        assert!((normal_quantile(1e-20) + 9.262340089798408).abs() < 1e-13);
    }

    #[test]
    fn truncated_normal_keeps_its_range_and_its_shape() {
        let d = Distribution::Normal { mean: 0.0, sd: 1.0, min: Some(0.0), max: None };
        // The median of the half-normal distribution.
        assert!((d.quantile(0.5) - 0.6744897501960817).abs() < 1e-12);
        assert!(d.quantile(1e-9) >= 0.0);
        assert!(d.quantile(1.0 - 1e-12).is_finite());
    }

    #[test]
    fn whole_numbers_are_equally_likely_up_to_both_ends() {
        let d = Distribution::UniformInteger { min: 30, max: 32 };
        let counts = (0..3000).fold([0; 3], |mut counts, i| {
            counts[(d.quantile((f64::from(i) + 0.5) / 3000.0) - 30.0) as usize] += 1;
            counts
        });
        assert_eq!(counts, [1000; 3]);
    }

    #[test]
    fn triangular_quantile_inverts_its_distribution_function() {
        let d = Distribution::Triangular { min: 1.0, mode: 2.0, max: 5.0 };
        for i in 1..100 {
            let u = f64::from(i) / 100.0;
            let x = d.quantile(u);
            let cdf = if x <= 2.0 { (x - 1.0) * (x - 1.0) / 4.0 } else { 1.0 - (5.0 - x) * (5.0 - x) / 12.0 };
            assert!((cdf - u).abs() < 1e-12, "{u}");
        }
    }
}
