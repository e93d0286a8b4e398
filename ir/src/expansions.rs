//! Coefficients of exp, log, erf and tanh. Backends evaluate the same polynomials in the same order, so that they agree
//! almost to the bit; [`emit::math`](crate::emit::math) evaluates them and gives the error bounds.

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
/// erf(x) = x P(x^2) / Q(x^2) for |x| <= [`ERF_BOUND`], these being P and Q: the rational function of this degree whose largest
/// relative error is least, 2e-8 (fitted by Lawson's iteration in 40 digits). Its evaluation in f32 rounds by more.
pub const ERF_NUMERATOR: [f64; 6] = [
    2.05006736251e-6,
    2.84878784671e-4,
    3.76555206797e-3,
    5.27485387684e-2,
    1.90405281620e-1,
    1.12837914620,
];
/// See [`ERF_NUMERATOR`].
pub const ERF_DENOMINATOR: [f64; 6] = [
    3.80912953761e-5,
    1.16251463895e-3,
    1.49690976356e-2,
    1.14108594030e-1,
    5.02075029500e-1,
    1.0,
];
/// From here on erf is 1 in f32, give or take half a unit.
pub const ERF_BOUND: f64 = 3.9;
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
