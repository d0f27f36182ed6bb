/* Weighted sums over moduli and triple products of structure factors, as lake/identity.py makes them with numpy; to rounding errors. */

#define ATOMS 64
#define ORDERS 12
#define SUMS 6
#define MOST_WAVES 128
#define FAR 1e4

/* cos and sin of 2 pi x for x in [0, 1): by Taylor's series for the eighth of the circle around the nearest quarter. */
static inline void turn(double x, double *re, double *im)
{
    double quarter = (4.0 * x + ROUND) - ROUND, z = (x - 0.25 * quarter) * 6.283185307179586476925287, y = z * z;
    double c = 1.0 + y * (-1.0 / 2 + y * (1.0 / 24 + y * (-1.0 / 720 + y * (1.0 / 40320 + y * (-1.0 / 3628800 + y * (1.0 / 479001600
               + y * (-1.0 / 87178291200.0 + y * (1.0 / 20922789888000.0))))))));
    double s = z * (1.0 + y * (-1.0 / 6 + y * (1.0 / 120 + y * (-1.0 / 5040 + y * (1.0 / 362880 + y * (-1.0 / 39916800
               + y * (1.0 / 6227020800.0 + y * (-1.0 / 1307674368000.0 + y * (1.0 / 355687428096000.0)))))))));
    double odd = quarter == 1.0 || quarter == 3.0 ? 1.0 : 0.0;
    double cosine = odd == 1.0 ? -s : c, sine = odd == 1.0 ? c : s;
    double sign = quarter == 2.0 || quarter == 3.0 ? -1.0 : 1.0;
    *re = sign * cosine;
    *im = sign * sine;
}

/* Add up the atoms of one block; factors[waves][2]. */
static void add_atoms(const double *fractional, const double *weights, long waves, const long *wave, double *factors)
{
    double re[3][ORDERS][ATOMS], im[3][ORDERS][ATOMS];
    double pr[ATOMS], pi[ATOMS];
    for (int k = 0; k < 3; k++) {
        for (int a = 0; a < ATOMS; a++)
            turn(fractional[k * ATOMS + a], &re[k][0][a], &im[k][0][a]);
        for (int o = 1; o < ORDERS; o++)
            for (int a = 0; a < ATOMS; a++) {
                re[k][o][a] = re[k][o - 1][a] * re[k][0][a] - im[k][o - 1][a] * im[k][0][a];
                im[k][o][a] = re[k][o - 1][a] * im[k][0][a] + im[k][o - 1][a] * re[k][0][a];
            }
    }
    for (long w = 0; w < waves; w++) {
        int many = 0;
        for (int k = 0; k < 3; k++) {
            long order = wave[3 * w + k];
            if (!order)
                continue;
            double sign = order < 0 ? -1.0 : 1.0;
            const double *fr = re[k][labs(order) - 1], *fi = im[k][labs(order) - 1];
            if (!many++)
                for (int a = 0; a < ATOMS; a++) {
                    pr[a] = fr[a];
                    pi[a] = sign * fi[a];
                }
            else
                for (int a = 0; a < ATOMS; a++) {
                    double next = pr[a] * fr[a] - pi[a] * (sign * fi[a]);
                    pi[a] = pr[a] * (sign * fi[a]) + pi[a] * fr[a];
                    pr[a] = next;
                }
        }
        double sr[LANES] = {0}, si[LANES] = {0};
        for (int a = 0; a < ATOMS; a += LANES)
            for (int l = 0; l < LANES; l++) {
                sr[l] += pr[a + l] * weights[a + l] - pi[a + l] * weights[ATOMS + a + l];
                si[l] += pr[a + l] * weights[ATOMS + a + l] + pi[a + l] * weights[a + l];
            }
        for (int l = 0; l < LANES; l++) {
            factors[2 * w] += sr[l];
            factors[2 * w + 1] += si[l];
        }
    }
}

/* out[n][SUMS]; positions[n][natoms][3], cell and inverse [n][3][3], atom[2][natoms] real and imaginary weights of the atoms,
   wave[waves][3], triple[triples][3], weight[9 + waves + 2 triples][SUMS] of the cell (divided by quanta[0]) and of the invariants
   (by quanta[1]). Return 0 where numbers are so large that rounding errors could count. */
long structure_sums(const double *positions, const double *cell, const double *inverse, const double *atom, const long *wave,
                    const long *triple, const double *weight, const double *quanta, long n, long natoms, long waves, long triples,
                    double *out)
{
    double factors[2 * MOST_WAVES], moduli[MOST_WAVES], fractional[3 * ATOMS], weights[2 * ATOMS];
    if (waves > MOST_WAVES)
        return 0;
    for (long f = 0; f < n; f++, cell += 9, inverse += 9, positions += 3 * natoms, out += SUMS) {
        double sums[SUMS] = {0};
        for (long i = 0; i < 2 * waves; i++)
            factors[i] = 0.0;
        for (long begin = 0; begin < natoms; begin += ATOMS) {
            memset(fractional, 0, sizeof fractional);
            memset(weights, 0, sizeof weights);
            long block = natoms - begin < ATOMS ? natoms - begin : ATOMS;
            for (long a = 0; a < block; a++) {
                const double *r = positions + 3 * (begin + a);
                for (int k = 0; k < 3; k++) {
                    double value = r[0] * inverse[k] + r[1] * inverse[3 + k] + r[2] * inverse[6 + k];
                    if (!(fabs(value) < FAR))
                        return 0;
                    fractional[k * ATOMS + a] = value - floor(value);
                }
                weights[a] = atom[begin + a];
                weights[ATOMS + a] = atom[natoms + begin + a];
            }
            add_atoms(fractional, weights, waves, wave, factors);
        }
        const double *row = weight;
        for (int i = 0; i < 9; i++, row += SUMS) {
            if (!(fabs(cell[i]) < FAR))
                return 0;
            for (int k = 0; k < SUMS; k++)
                sums[k] += cell[i] / quanta[0] * row[k];
        }
        for (long w = 0; w < waves; w++, row += SUMS) {
            moduli[w] = sqrt(factors[2 * w] * factors[2 * w] + factors[2 * w + 1] * factors[2 * w + 1]);
            for (int k = 0; k < SUMS; k++)
                sums[k] += moduli[w] / quanta[1] * row[k];
        }
        for (long t = 0; t < triples; t++, row += SUMS) {
            const double *a = factors + 2 * triple[3 * t], *b = factors + 2 * triple[3 * t + 1], *c = factors + 2 * triple[3 * t + 2];
            double ma = moduli[triple[3 * t]], mb = moduli[triple[3 * t + 1]], mc = moduli[triple[3 * t + 2]];
            double re = a[0] * b[0] - a[1] * b[1], im = a[0] * b[1] + a[1] * b[0];
            double scale = 1.0 / (quanta[1] * (1.0 + ma * ma + mb * mb + mc * mc));
            double real = (re * c[0] + im * c[1]) * scale, imaginary = (im * c[0] - re * c[1]) * scale;
            for (int k = 0; k < SUMS; k++)
                sums[k] += real * row[k] + imaginary * row[triples * SUMS + k];
        }
        for (int k = 0; k < SUMS; k++)
            out[k] = sums[k];
    }
    return 1;
}
