/* Ionic steps of VASP that are written in the usual way, one after another; what is not is left to the readers in Python. */

#define OUTCAR_PLACES 12
#define OUTCAR_NUMBERS 7
#define ENERGY_BLOCK 2048

/* Three energies of a step of OUTCAR from its `free  energy` on: free, internal, E(sigma->0). */
static int outcar_energies(const byte *p, const byte *end, double *free_energy, double *internal, double *sigma0)
{
    const byte *equals = memchr(p, '=', end - p);
    if (!equals || !(p = next_number(equals + 1, end, free_energy)) || p >= end || *p != ' ')
        return 0;
    while (p < end && *p == ' ')
        p++;
    if (!STARTS(p, end, "eV") || !(p = SEEK(p, end, "without entropy=", 0)))
        return 0;
    if (!(p = next_number(p + 16, end, internal)) || p >= end || !is_blank(*p))
        return 0;
    const byte *next = p;
    while (next < end && (*next == ' ' || *next == '\t'))
        next++;
    if ((next < end && is_digit(*next)) || !(p = SEEK(p, end, "energy(sigma->0) =", 12)))
        return 0;
    if (!(p = next_number(p + 18, end, sigma0)) || p >= end || !is_blank(*p))
        return 0;
    for (next = p; next < end && (*next == ' ' || *next == '\t');)
        next++;
    return next >= end || !is_digit(*next);
}

/* The number behind the last occurrence of words, NAN for none; 0 where it is written unusually. */
static int number_behind(const byte *place, long length, const byte *stop, double *out)
{
    *out = NAN;
    if (!place)
        return 1;
    const byte *end = place + length + 30 < stop ? place + length + 30 : stop;
    const byte *behind = next_number(place + length, end, out);
    return behind && behind < end && is_blank(*behind);
}

/* How the cycle of a step went: number of the ionic step, iterations, last change, and whether it is said not to have converged. */
static int outcar_cycle(const byte *iteration, const byte *energy, long *places, double *change)
{
    const byte *p = iteration + 10;
    long ionic = 0, electronic = 0, digits = 0;
    while (p < energy && *p == ' ')
        p++;
    for (; p < energy && is_digit(*p) && digits < 10; p++, digits++)
        ionic = 10 * ionic + (*p - '0');
    if (digits < 1 || digits > 9 || p >= energy || *p++ != '(')
        return 0;
    while (p < energy && *p == ' ')
        p++;
    for (digits = 0; p < energy && is_digit(*p) && digits < 7; p++, digits++)
        electronic = 10 * electronic + (*p - '0');
    if (digits < 1 || digits > 6 || p >= energy || *p != ')')
        return 0;
    const byte *left = SEEK(iteration, energy, "aborting loop", 0);
    const byte *said = left ? SEEK(left, left + 120 < energy ? left + 120 : energy, "EDIFF was not reached", 0) : 0;
    const byte *row = SEEK_BACK(iteration, left ? left : energy, "total energy-change", 12);
    *change = NAN;
    if (row) {
        for (p = row + 19; p < energy && *p != ':' && *p != '\n';)
            p++;
        if (p >= energy || *p != ':' || !(p = next_number(p + 1, energy, change)) || p >= energy || *p == 'd' || *p == 'D')
            return 0;
    }
    places[0] = ionic;
    places[1] = electronic;
    places[2] = said != 0;
    return 1;
}

/* One step from at on; 1 where it is whole and usual. places: energy, end of energies, table from and to, lattice from and to, stress from
   and to, then outcar_cycle's; numbers: free, sigma0, internal, NAN, last change, volume, pressure. */
static int outcar_step(const byte *buffer, const byte *at, const byte *stop, long *places, double *numbers)
{
    const byte *energy = SEEK(at, stop, "free  energy ", 0);
    if (!energy || SEEK(at, energy, " executed on ", 2) || SEEK(energy, energy + 24 < stop ? energy + 24 : stop, " ML ", 1))
        return 0;
    const byte *end = energy + ENERGY_BLOCK < stop ? energy + ENERGY_BLOCK : stop;
    const byte *sigma0 = SEEK(energy, end, "energy(sigma->0)", 12), *shut = sigma0 ? line_end(sigma0, stop) : 0;
    const byte *table = SEEK_BACK(at, energy, "TOTAL-FORCE (eV", 6), *title = table ? line_end(table, energy) : 0;
    if (!shut || !title || SEEK(table, title, "(ML)", 1))
        return 0;
    const byte *dashes = line_end(title + 1, energy), *closing = dashes ? SEEK(dashes, energy, "\n ---", 0) : 0;
    const byte *iteration = SEEK_BACK(at, table, "Iteration ", 0);
    if (!closing || closing <= dashes || !iteration)
        return 0;
    const byte *lattice = SEEK_BACK(iteration, table, "direct lattice vectors", 7), *first = lattice ? line_end(lattice, table) : 0;
    const byte *last = first;
    for (int row = 0; row < 3; row++)
        last = last ? line_end(last + 1, table) : 0;
    if (!last)
        return 0;
    last++;
    long points = 0;
    for (const byte *p = last; p < table && p < last + 200 && *p != '\n'; p++)
        points += *p == '.';
    const byte *stress = SEEK_BACK(iteration, table, "\n  in kB", 7), *stress_end = stress ? line_end(stress + 1, table) : 0;
    if (points >= 6 || (stress && !stress_end))
        return 0;
    if (!outcar_energies(energy, end, numbers, numbers + 2, numbers + 1) || !outcar_cycle(iteration, energy, places + 8, numbers + 4))
        return 0;
    if (!number_behind(SEEK_BACK(iteration, table, "volume of cell :", 0), 16, stop, numbers + 5)
        || !number_behind(SEEK_BACK(iteration, table, "external pressure =", 1), 19, stop, numbers + 6))
        return 0;
    numbers[3] = NAN;
    const byte *found[] = {energy, shut, dashes + 1, closing + 1, first + 1, last, stress ? stress + 1 : buffer,
                           stress ? stress_end + 1 : buffer};
    for (int i = 0; i < 8; i++)
        places[i] = found[i] - buffer;
    return 1;
}

/* Up to most steps of an OUTCAR whose energies stand last; return how many. */
long outcar_steps(const byte *buffer, long at, long length, long most, long *places, double *numbers)
{
    long n = 0;
    for (; n < most && outcar_step(buffer, buffer + at, buffer + length, places, numbers); n++) {
        at = places[1];
        places += OUTCAR_PLACES;
        numbers += OUTCAR_NUMBERS;
    }
    return n;
}

/* How many of n steps have another volume or pressure than printed beside[n][2] (pressure with or without less): cells and stress with so
   many numbers from one step and, cells, from one row to the next. NAN is never another. */
long outcar_contradictions(const double *cells, long cell_step, long row_step, const double *stress, long stress_step,
                           const double *beside, long n, double less, double least, double share)
{
    long found = 0;
    for (long i = 0; i < n; i++, cells += cell_step, stress += stress_step, beside += 2) {
        const double *u = cells, *v = cells + row_step, *w = cells + 2 * row_step;
        double volume = fabs((u[0] * (v[1] * w[2] - v[2] * w[1]) + u[1] * (v[2] * w[0] - v[0] * w[2])) + u[2] * (v[0] * w[1] - v[1] * w[0]));
        double pressure = ((stress[0] + stress[1]) + stress[2]) / 3.0, off = fabs(beside[1] - pressure);
        if (less != 0.0 && fabs(beside[1] + less - pressure) < off)
            off = fabs(beside[1] + less - pressure);
        found += fabs(beside[0] - volume) > least + share * fabs(volume) || off > least + share * fabs(pressure);
    }
    return found;
}

/* The tables of n steps of natoms atoms, found by outcar_steps: table[n][natoms][6], lattice[n][3][6], stress[n][6]. Return 1 where all are
   there and as Fortran writes them; else they are left to the reader in Python, whose layouts these are. */
long outcar_tables(const byte *buffer, const long *places, long n, long natoms, double *table, double *lattice, double *stress)
{
    static const struct {
        long rows, parts, from[2], to[2], count;
    } LAYOUTS[] = {{0, 2, {0, 39}, {39, 84}, 3}, {3, 2, {0, 42}, {42, 84}, 3}, {1, 1, {7, 0}, {1 << 16, 0}, 6}};
    double *out[] = {table, lattice, stress};
    long *starts = malloc(2 * n * sizeof *starts), *ends = starts + n, usual = starts != 0;
    for (long k = 0; usual && k < 3; k++) {
        long groups[10], rows = k ? LAYOUTS[k].rows : natoms;
        for (long i = 0; usual && i < n; i++) {
            starts[i] = places[OUTCAR_PLACES * i + 2 + 2 * k];
            ends[i] = places[OUTCAR_PLACES * i + 3 + 2 * k];
            usual = ends[i] > starts[i];
        }
        const byte *row = buffer + starts[0], *end = usual ? line_end(row, buffer + ends[0]) : 0;
        long stride = end ? end + 1 - row : 0;
        usual = stride > 0 && stride <= 1024;
        for (long g = 0; usual && g < LAYOUTS[k].parts; g++) {
            long to = LAYOUTS[k].to[g] < stride ? LAYOUTS[k].to[g] : stride;
            usual = LAYOUTS[k].from[g] < to && columns_of(row, LAYOUTS[k].from[g], to, LAYOUTS[k].count, groups + 5 * g);
            groups[5 * g + 4] = LAYOUTS[k].to[g];
        }
        usual = usual && block_rows(buffer, starts, ends, n, rows, stride, 0, LAYOUTS[k].parts, groups, out[k]);
    }
    free(starts);
    return usual;
}
