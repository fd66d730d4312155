//! Charts against a fixed baseline: EWMA and CUSUM.

/// An exponentially weighted mean at each step, and how far it is from the baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Ewma {
    /// In baseline standard deviations.
    pub mean: Vec<f64>,
    /// The same in its own standard errors.
    pub z: Vec<f64>,
}

/// `E = (1-l)E + l·u`, `z = E / sqrt(V + 1/n0)`, `V = l/(2-l)·(1-(1-l)^2t)`; `u` standardised on the baseline, `E` begins at 0.
pub fn ewma(y: &[f64], (base, deviation): (f64, f64), base_n: f64, lambda: f64) -> Ewma {
    let (mut level, mut faded) = (0.0, 1.0);
    let mut out = Ewma { mean: Vec::with_capacity(y.len()), z: Vec::with_capacity(y.len()) };
    for value in y {
        level = (1.0 - lambda) * level + lambda * (value - base) / deviation;
        faded *= (1.0 - lambda) * (1.0 - lambda);
        let variance = lambda / (2.0 - lambda) * (1.0 - faded);
        out.mean.push(level);
        out.z.push(level / (variance + 1.0 / base_n).sqrt());
    }
    out
}

/// Cumulative sums above and below the baseline, in its standard deviations.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Cusum {
    pub upper: Vec<f64>,
    pub lower: Vec<f64>,
}

/// `C = max(0, C ± u - k)`.
pub fn cusum(y: &[f64], (base, deviation): (f64, f64), slack: f64) -> Cusum {
    let (mut up, mut down) = (0.0_f64, 0.0_f64);
    let mut out = Cusum { upper: Vec::with_capacity(y.len()), lower: Vec::with_capacity(y.len()) };
    for value in y {
        let u = (value - base) / deviation;
        up = (up + u - slack).max(0.0);
        down = (down - u - slack).max(0.0);
        out.upper.push(up);
        out.lower.push(down);
    }
    out
}
