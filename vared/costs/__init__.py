"""Operations and parameters of the thesis's networks in full size, counted on shapes alone."""
