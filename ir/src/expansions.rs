//! Coefficients of exp, log, erf and tanh. Backends evaluate the same polynomials in the same order, so that they agree
//! almost to the bit; the error bounds are told where they are evaluated.

/// Cephes expf: (exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2.
pub const EXP: [f64; 6] = [
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
];
/// Cephes logf: (log(1 + r) - r + r^2 / 2) / r^3 on sqrt(1/2) <= 1 + r <= sqrt(2).
pub const LOG: [f64; 9] = [
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
];
/// Minimax fits by N. Juffa: (erf(x) - x) / x in x^2 for |x| <= 0.92773, and log(1 - erf(t)) / t + 1 in t beyond.
pub const ERF_SMALL: [f64; 6] = [
    -5.96761703e-4,
    4.99119423e-3,
    -2.67681349e-2,
    1.12819925e-1,
    -3.76125336e-1,
    1.28379166e-1,
];
/// See [`ERF_SMALL`].
pub const ERF_LARGE: [f64; 7] = [
    -1.72853470e-5,
    3.83197126e-4,
    -3.88396438e-3,
    2.42546219e-2,
    -1.06777877e-1,
    -6.34846687e-1,
    -1.28717512e-1,
];
/// Cephes tanhf: (tanh(x) - x) / x^3 in x^2 for |x| < 0.625.
pub const TANH: [f64; 5] = [
    -5.70498872745e-3,
    2.06390887954e-2,
    -5.37397155531e-2,
    1.33314422036e-1,
    -3.33332819422e-1,
];

/// ln(2) in two parts, the first short enough that its product with an exponent is exact.
pub const LN2_F32: (f64, f64) = (0.693359375, -2.12194440e-4);
/// The same for f64.
pub const LN2_F64: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);

/// Maclaurin series of tanh in f64, (tanh(x) - x) / x^3 in x^2, highest power first: 2^2k (2^2k - 1) B_2k / (2k)! as fractions.
pub const TANH_SERIES: [(f64, f64); 10] = [
    (18_888_466_084.0, 194_896_477_400_625.0),
    (-443_861_162.0, 1_856_156_927_625.0),
    (6_404_582.0, 10_854_718_875.0),
    (-929_569.0, 638_512_875.0),
    (21_844.0, 6_081_075.0),
    (-1_382.0, 155_925.0),
    (62.0, 2_835.0),
    (-17.0, 315.0),
    (2.0, 15.0),
    (-1.0, 3.0),
];
