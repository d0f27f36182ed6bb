/* The same operations, in the same order and each rounded, as lake/distances.py does with numpy: the results are equal to the last bit. */

#define MOST_ATOMS 256
#define LANES 8
#define SANE 1e6
#define ROUND 6755399441055744.0 /* 1.5 * 2^52: added and taken off it leaves the nearest integer */

/* Squares of the smallest distances of two different atoms, out[n]; positions[n][natoms][3], cell and inverse [n][3][3], periodic[n][3]
   0 or 1, shifts[m][3]. Return 0 where numbers are so large that they could overflow. */
long pair_squares(const double *positions, const double *cell, const double *inverse, const double *periodic, const double *shifts,
                  long n, long natoms, long m, double *out)
{
    double fractional[3][MOST_ATOMS + LANES];
    if (natoms > MOST_ATOMS)
        return 0;
    for (long f = 0; f < n; f++, positions += 3 * natoms, cell += 9, inverse += 9, periodic += 3) {
        for (int i = 0; i < 9; i++)
            if (!(fabs(cell[i]) < SANE))
                return 0;
        for (int k = 0; k < 3; k++)
            for (long a = 0; a < natoms; a++) {
                const double *r = positions + 3 * a;
                double value = (r[0] * inverse[k] + r[1] * inverse[3 + k]) + r[2] * inverse[6 + k];
                if (!(fabs(value) < SANE))
                    return 0;
                fractional[k][a] = value;
            }
        for (int k = 0; k < 3; k++)
            for (long a = natoms; a < natoms + LANES; a++)
                fractional[k][a] = NAN;
        double least[LANES];
        for (int l = 0; l < LANES; l++)
            least[l] = INFINITY;
        for (long s = 0; s < m; s++) {
            double image[3];
            for (int k = 0; k < 3; k++)
                image[k] = (shifts[3 * s] * cell[k] + shifts[3 * s + 1] * cell[3 + k]) + shifts[3 * s + 2] * cell[6 + k];
            for (long i = 0; i + 1 < natoms; i++)
                for (long j = i + 1; j < natoms; j += LANES)
                    for (int l = 0; l < LANES; l++) {
                        double between[3], square[3];
                        for (int k = 0; k < 3; k++) {
                            double apart = fractional[k][i] - fractional[k][j + l];
                            between[k] = apart - ((apart + ROUND) - ROUND) * periodic[k];
                        }
                        for (int k = 0; k < 3; k++) {
                            double moved = ((between[0] * cell[k] + between[1] * cell[3 + k]) + between[2] * cell[6 + k]) + image[k];
                            square[k] = moved * moved;
                        }
                        double found = (square[0] + square[1]) + square[2];
                        least[l] = found < least[l] ? found : least[l];
                    }
        }
        out[f] = INFINITY;
        for (int l = 0; l < LANES; l++)
            out[f] = least[l] < out[f] ? least[l] : out[f];
    }
    return 1;
}
