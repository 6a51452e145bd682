"""Forecasts power load, weather and a share's price with intervals, as their values come.

The way of the data: ``data`` has the series, ``features`` makes of each new value what the model sees,
``forecaster`` streams it and gives quantiles, ``scores`` compares them with naive forecasts.
"""
