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

/* Smallest distances below limit of two atoms or of an atom and its own image, out[n], NAN for none; as `smallest_distances` of
   lake/distances.py makes them for cells that repeat along the vectors where pbc[3] is 1. Images are looked at up to most cells away.
   Return 0 where that is left to it. */
long smallest_distances(const double *positions, const double *cell, const double *inverse, const double *pbc, double limit, long most,
                        long n, long natoms, double *out)
{
    long reach[3] = {0, 0, 0}, m = 0;
    for (long f = 0; f < n; f++)
        for (int k = 0; k < 3; k++) {
            const double *v = inverse + 9 * f + k;
            double height = 1.0 / sqrt((v[0] * v[0] + v[3] * v[3]) + v[6] * v[6]), cells = floor(limit / height + 0.5);
            if (!(cells >= 0 && cells < SANE))
                return 0;
            if (pbc[k] && cells > reach[k])
                reach[k] = cells < most ? cells : most;
        }
    long images = (2 * reach[0] + 1) * (2 * reach[1] + 1) * (2 * reach[2] + 1);
    double *shifts = malloc((images + n) * 3 * sizeof *shifts), *periodic = shifts + 3 * images;
    if (!shifts)
        return 0;
    for (long i = -reach[0]; i <= reach[0]; i++)
        for (long j = -reach[1]; j <= reach[1]; j++)
            for (long k = -reach[2]; k <= reach[2]; k++, m++)
                shifts[3 * m] = i, shifts[3 * m + 1] = j, shifts[3 * m + 2] = k;
    for (long i = 0; i < 3 * n; i++)
        periodic[i] = pbc[i % 3];
    long made = pair_squares(positions, cell, inverse, periodic, shifts, n, natoms, images, out);
    for (long f = 0; made && f < n; f++, cell += 9) {
        for (long s = 0; s < images; s++) {
            double found = 0.0;
            if (2 * s + 1 == images)
                continue;
            for (int k = 0; k < 3; k++) {
                double part = (shifts[3 * s] * cell[k] + shifts[3 * s + 1] * cell[3 + k]) + shifts[3 * s + 2] * cell[6 + k];
                found = k ? found + part * part : part * part;
            }
            out[f] = found < out[f] ? found : out[f];
        }
        out[f] = sqrt(out[f]) <= limit ? sqrt(out[f]) : NAN;
    }
    free(shifts);
    return made;
}

/* What the forces[n][natoms][3] and stress[n][3][3] of frames tell, out[5][n]: largest norm of a force, norm of their sum, minus a third of
   the trace of the stress, and 1 where a force and where a component of the stress is NAN. */
long label_numbers(const double *forces, const double *stress, long n, long natoms, double *out)
{
    for (long f = 0; f < n; f++, forces += 3 * natoms, stress += 9, out++) {
        double largest = 0.0, sum[3] = {0.0, 0.0, 0.0};
        int torn = 0, tense = 0;
        for (long a = 0; a < natoms; a++) {
            const double *v = forces + 3 * a;
            double square = (v[0] * v[0] + v[1] * v[1]) + v[2] * v[2];
            largest = square > largest ? square : largest;
            for (int k = 0; k < 3; k++) {
                sum[k] = a ? sum[k] + v[k] : v[k];
                torn |= isnan(v[k]) != 0;
            }
        }
        for (int i = 0; i < 9; i++)
            tense |= isnan(stress[i]) != 0;
        out[0] = torn || !natoms ? NAN : sqrt(largest);
        out[n] = sqrt((sum[0] * sum[0] + sum[1] * sum[1]) + sum[2] * sum[2]);
        out[2 * n] = -((stress[0] + stress[4]) + stress[8]) / 3.0;
        out[3 * n] = torn;
        out[4 * n] = tense;
    }
    return 1;
}

/* How far the vectors of frames lie apart, a and b [n][rows][3] with so many numbers from one frame and from one row to the next:
   out[0][n] the largest square of a norm, NAN where a number is missing, out[1][n] the largest component, missing ones left out. */
long vectors_apart(const double *a, long a_block, long a_row, const double *b, long b_block, long b_row, long n, long rows, double *out)
{
    for (long f = 0; f < n; f++) {
        double farthest = 0.0, largest = 0.0;
        int torn = 0;
        for (long r = 0; r < rows; r++) {
            const double *p = a + f * a_block + r * a_row, *q = b + f * b_block + r * b_row;
            double x = p[0] - q[0], y = p[1] - q[1], z = p[2] - q[2], square = (x * x + y * y) + z * z;
            farthest = square > farthest ? square : farthest;
            torn |= isnan(square) != 0;
            largest = fabs(x) > largest ? fabs(x) : largest;
            largest = fabs(y) > largest ? fabs(y) : largest;
            largest = fabs(z) > largest ? fabs(z) : largest;
        }
        out[f] = torn ? NAN : farthest;
        out[n + f] = largest;
    }
    return 1;
}
