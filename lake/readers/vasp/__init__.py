"""vasprun.xml, OUTCAR and vaspout.h5 of VASP."""
