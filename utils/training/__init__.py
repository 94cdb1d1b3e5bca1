"""One run: trained, recorded, saved, resumed, evaluated."""
