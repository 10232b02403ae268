"""Pressure injury: how long has this resident been lying on the same tissue?"""
