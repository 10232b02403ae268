"""Heart: dangerous rates and rhythms from ECG, RR intervals and vital signs."""
