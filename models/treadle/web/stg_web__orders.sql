-- Written by `treadle dbt`, which replaces it when it runs again: make changes in other files.
select
    "id",
    "_sdc_batched_at",
    "_sdc_received_at",
    "_sdc_sequence",
    "_sdc_table_version"
from {{ source('web', 'orders') }}
