/* Energies and their derivatives by vectors, without a graph of them: all that the use of a potential needs. Stands after moments.c.
 *
 * Two layouts take turns: lanes are neighbours of one atom in sums over neighbours, and LANES atoms in what follows from their moments.
 * Radial functions are mixed before the sum, so that a neighbour costs CHANNELS products with each monomial and not MIXED.
 */
#include <stdlib.h>

typedef INTEGER whole __attribute__((vector_size(LANES * sizeof(REAL))));

/* What a potential knows: numbers of one element stand in a row, those of the network as in network.py. */
typedef struct {
    REAL cutoff;
    const REAL *embedding; /* (elements, SPECIES) */
    const REAL *mixing;    /* (elements, CHANNELS, MIXED) */
    const REAL *rows;      /* (elements, length): means, skips, shift; scales and shifts of each layer; last */
    const REAL *matrices;  /* of each layer, (inputs, outputs), and behind it its transpose; the first with the spreads in it */
    const long *widths;    /* (layers + 1), that of the descriptors first */
    long layers, length;
} Weights;

/* The neighbours of one atom, as many lanes as there are of them. */
typedef struct {
    const REAL *vectors, *mixing;
    const int *neighbour;
    long count;
} Around;

/* e to the power of x, |x| below 80 (float) or 700: halvings and Taylor series, to the precision of REAL. */
static inline lanes exponential(lanes x)
{
    const lanes halvings = x * (REAL)M_LOG2E;
    const whole n = __builtin_convertvector(halvings + (REAL)0.5 + __builtin_convertvector(halvings < 0, lanes), whole);
    const lanes rest = x - __builtin_convertvector(n, lanes) * (REAL)M_LN2;
    lanes sum = (lanes){0} + 1;
    for (int i = (sizeof(REAL) == 8 ? 13 : 7); i > 0; i--) sum = 1 + rest * (1 / (REAL)i) * sum;
    return sum * (lanes)((n + (sizeof(REAL) == 8 ? 1023 : 127)) << (sizeof(REAL) == 8 ? 52 : 23));
}

/* z / (1 + exp(-z)) and its slope */
static inline void silu(lanes z, lanes *value, lanes *slope)
{
    const REAL most = sizeof(REAL) == 8 ? 700 : 80;
    lanes bounded;
    EACH_LANE bounded[l] = z[l] < -most ? most : z[l] > most ? -most : -z[l];
    const lanes share = 1 / (1 + exponential(bounded));
    *value = z * share;
    *slope = share * (1 + z * (1 - share));
}

/* out (m) = in (n) times matrix (n, m) */
static void times(const lanes *in, long n, const REAL *matrix, long m, lanes *out)
{
    long j = 0;
    for (; j + 8 <= m; j += 8) {
        lanes sum[8] = {{0}};
        for (long i = 0; i < n; i++)
            for (int q = 0; q < 8; q++) sum[q] += in[i] * matrix[i * m + j + q];
        for (int q = 0; q < 8; q++) out[j + q] = sum[q];
    }
    for (; j < m; j++) {
        lanes sum = {0};
        for (long i = 0; i < n; i++) sum += in[i] * matrix[i * m + j];
        out[j] = sum;
    }
}

/* Energies of descriptors d (SIZE), in whose place their derivatives come; row as in Weights; room for 3 lanes of each hidden width. */
static lanes network(const Weights *w, const lanes *row, lanes *d, lanes *room)
{
    const lanes *skip = row + SIZE, *part = row + 2 * SIZE + 1;
    const REAL *matrix = w->matrices;
    lanes energy = row[2 * SIZE], *slope = room, back[SIZE];
    for (int i = 0; i < SIZE; i++) {
        d[i] -= row[i];
        energy += skip[i] * d[i];
    }
    const lanes *in = d;
    for (long k = 0; k < w->layers; k++) {
        const long n = w->widths[k], m = w->widths[k + 1];
        lanes *out = slope + m;
        times(in, n, matrix, m, out);
        for (long j = 0; j < m; j++) {
            silu(part[j] * out[j] + part[m + j], out + j, slope + j);
            slope[j] *= part[j];
        }
        in = out;
        slope = out + m;
        part += 2 * m;
        matrix += 2 * n * m;
    }
    lanes *by_value = slope;
    for (long j = 0; w->layers && j < w->widths[w->layers]; j++) {
        energy += part[j] * in[j];
        by_value[j] = part[j];
    }
    for (long k = w->layers; k-- > 0;) {
        const long n = w->widths[k], m = w->widths[k + 1];
        slope -= 2 * m;
        matrix -= 2 * n * m;
        for (long j = 0; j < m; j++) slope[j] *= by_value[j];
        by_value = k ? slope + m : back;
        times(slope, m, matrix + n * m, n, by_value);
    }
    for (int i = 0; i < SIZE; i++) d[i] = w->layers ? skip[i] + back[i] : skip[i];
    return energy;
}

/* Neighbours of an atom from the first-th on into a block; returns their number. */
static inline int take(Block *b, const Weights *w, const Around *around, long first, const long *species)
{
    const int count = around->count - first < LANES ? (int)(around->count - first) : LANES;
    place(b, around->vectors + 3 * first, count, w->cutoff);
    for (int a = 0; a < SPECIES; a++)
        EACH_LANE b->weight[a][l] = l < count ? w->embedding[species[around->neighbour[first + l]] * SPECIES + a] : 0;
    return count;
}

/* out (CHANNELS): mixtures of functions (RADIAL) of a block of neighbours */
static inline void mixtures(const Block *b, const REAL *mixing, const lanes *functions, lanes *out)
{
    lanes parts[MIXED];
    for (int q = 0; q < MIXED; q++) parts[q] = functions[q / SPECIES] * b->weight[q % SPECIES];
    for (int c = 0; c < CHANNELS; c++) {
        lanes sum = {0};
        for (int q = 0; q < MIXED; q++) sum += mixing[c * MIXED + q] * parts[q];
        out[c] = sum;
    }
}

/* Sums over the neighbours of one atom, of mixtures times monomials, into its lane of out (TERMS, CHANNELS). */
static void sum_up(const Weights *w, const Around *around, const long *species, REAL *out)
{
    Block b;
    lanes sum[CHANNELS][ROW] = {{{0}}}, rows[LANES][ROW] = {{{0}}}, parts[CHANNELS];
    for (long first = 0; first < around->count; first += LANES) {
        take(&b, w, around, first, species);
        mixtures(&b, around->mixing, b.radial, parts);
        turn_over(b.term, rows);
        add_products(parts, rows, sum, CHANNELS);
    }
    for (int m = 0; m < TERMS; m++)
        for (int c = 0; c < CHANNELS; c++) out[(m * CHANNELS + c) * LANES] = ((const REAL *)sum[c])[m];
}

/* Derivatives by the vectors of one atom's neighbours from those by its sums, its lane of given (TERMS, CHANNELS). */
static void pull_apart(const Weights *w, const Around *around, const long *species, const REAL *given, REAL *by_vector)
{
    Block b;
    lanes flat[CHANNELS], steep[CHANNELS];
    for (long first = 0; first < around->count; first += LANES) {
        const int count = take(&b, w, around, first, species);
        mixtures(&b, around->mixing, b.radial, flat);
        mixtures(&b, around->mixing, b.slope, steep);
        lanes far = {0}, round[TERMS], force[3] = {{0}};
        ROLLED for (int m = 0; m < TERMS; m++) {
            lanes along = {0}, across = {0};
            for (int c = 0; c < CHANNELS; c++) {
                const REAL slope = given[(m * CHANNELS + c) * LANES];
                across += slope * flat[c];
                along += slope * steep[c];
            }
            round[m] = across;
            far += along * b.term[m];
        }
        UNROLLED for (int m = TERMS - 1; m > 0; m--)
        {
            force[AXIS[m]] += round[m] * b.term[PARENT[m]];
            round[PARENT[m]] += round[m] * b.unit[AXIS[m]];
        }
        const lanes inward = force[0] * b.unit[0] + force[1] * b.unit[1] + force[2] * b.unit[2];
        for (int i = 0; i < 3; i++) force[i] = (force[i] - inward * b.unit[i]) * b.inverse + far * b.unit[i];
        for (int l = 0; l < count; l++)
            for (int i = 0; i < 3; i++) by_vector[3 * (first + l) + i] = force[i][l];
    }
}

/* Energies of LANES atoms and, in the place of their sums of monomials (TERMS, CHANNELS), derivatives by these. */
static lanes energies_of(const Weights *w, const lanes *row, lanes *sums_of, lanes *room)
{
    lanes moment[MOMENTS], slope[MOMENTS], d[SIZE];
    ROLLED for (int h = 0; h < TERMS; h++) {
        lanes sum[CHANNELS] = {{0}};
        ROLLED for (int m = 0; m < TERMS; m++)
            for (int c = 0; c < CHANNELS; c++) sum[c] += HARMONICS_T[h][m] * sums_of[m * CHANNELS + c];
        for (int c = 0; c < CHANNELS; c++) moment[h * CHANNELS + c] = sum[c];
    }
    products(moment, d);
    const lanes energy = network(w, row, d, room);
    products_pull(moment, d, slope);
    ROLLED for (int m = 0; m < TERMS; m++) {
        lanes sum[CHANNELS] = {{0}};
        ROLLED for (int h = 0; h < TERMS; h++)
            for (int c = 0; c < CHANNELS; c++) sum[c] += HARMONICS[m][h] * slope[h * CHANNELS + c];
        for (int c = 0; c < CHANNELS; c++) sums_of[m * CHANNELS + c] = sum[c];
    }
    return energy;
}

/* Energies (atoms) and derivatives of their sum by vectors (edges, 3); returns 1 where memory is short. neighbour is (edges), start as in
 * moments.c, species (atoms). */
int evaluate(long atoms, const long *start, const int *neighbour, const long *species, const REAL *vectors, REAL cutoff,
             const REAL *embedding, const REAL *mixing, const REAL *rows, const REAL *matrices, const long *widths, long layers,
             REAL *energies, REAL *by_vector)
{
    long hidden = 0, length = 2 * SIZE + 1;
    for (long k = 1; k <= layers; k++) {
        hidden += widths[k];
        length += 2 * widths[k] + (k == layers ? widths[k] : 0);
    }
    const Weights w = {cutoff, embedding, mixing, rows, matrices, widths, layers, length};
    lanes *row = aligned_alloc(sizeof(lanes), sizeof(lanes) * (length + 3 * hidden)), sums_of[MOMENTS];
    if (!row) return 1;
    long held[LANES];
    for (long n = 0; n < atoms; n += LANES) {
        const int count = atoms - n < LANES ? (int)(atoms - n) : LANES;
        Around around[LANES];
        long own[LANES];
        for (int l = 0; l < LANES; l++) own[l] = species[n + (l < count ? l : 0)];
        if (n == 0 || memcmp(own, held, sizeof own)) {
            memcpy(held, own, sizeof own);
            for (int l = 0; l < LANES; l++)
                for (long i = 0; i < length; i++) row[i][l] = rows[own[l] * length + i];
        }
        memset(sums_of, 0, sizeof sums_of);
        for (int l = 0; l < count; l++) {
            const long first = start[n + l];
            around[l] = (Around){vectors + 3 * first, mixing + own[l] * CHANNELS * MIXED, neighbour + first, start[n + l + 1] - first};
            sum_up(&w, around + l, species, (REAL *)sums_of + l);
        }
        const lanes energy = energies_of(&w, row, sums_of, row + length);
        for (int l = 0; l < count; l++) {
            pull_apart(&w, around + l, species, (const REAL *)sums_of + l, by_vector + 3 * start[n + l]);
            energies[n + l] = energy[l];
        }
    }
    free(row);
    return 0;
}
